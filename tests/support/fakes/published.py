"""What is published besides the results under check, as a test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confidential_spark.jobs.checks.subject import PublishedMonth


@dataclass(frozen=True)
class PublishedStub:
    """Published results without a store.

    :param months: this job's earlier summaries, oldest first.
    :param others: job → what it has published for the same month.
    """

    months: Sequence[Mapping[str, Any]] = ()
    others: Mapping[str, PublishedMonth] = field(default_factory=dict)

    def earlier(self, months: int) -> Sequence[Mapping[str, Any]]:
        return self.months[-months:]

    def same_month(self, job: str) -> PublishedMonth | None:
        return self.others.get(job)
