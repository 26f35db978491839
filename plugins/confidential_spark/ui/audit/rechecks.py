"""Verifies a range anew, whatever was found before, in the background and one version after the other.

A page's verdicts are of the server that shows them, so each server verifies for itself whatever was asked of
any of them.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.ui.results.live_verification import KEPT, KeptJudgements
from confidential_spark.ui.room.known_results import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confidential_spark.ui.audit.requests import RecheckRequest
    from confidential_spark.ui.results.live_verification import Judge
    from confidential_spark.ui.results.published import PublishedResult, PublishedResults

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recheck:
    """How far the latest verification of a range is on this server.

    :param request: what was asked.
    :param done: how many versions were verified.
    :param failed: keys of versions that could not be read.
    :param ended: when it was over; None while it works.
    """

    request: RecheckRequest
    total: int
    started: datetime
    done: int = 0
    failed: tuple[str, ...] = ()
    ended: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is over."""
        return self.ended is not None


class Rechecks:
    """The latest recheck of each DAG, in the memory of this server.

    :param kept: where pages look for verdicts.
    """

    def __init__(self, kept: KeptJudgements = KEPT) -> None:
        """Start nothing yet."""
        self._kept = kept
        self._latest: dict[str, Recheck] = {}
        self._lock = threading.Lock()

    def latest(self, dag_id: str) -> Recheck | None:
        """Return how far the latest one of a DAG is."""
        with self._lock:
            return self._latest.get(dag_id)

    def begin(
        self,
        judge: Judge,
        published: PublishedResults,
        results: Sequence[PublishedResult],
        request: RecheckRequest,
    ) -> None:
        """Verify these versions soon, unless that was begun or an earlier request of the same DAG is at work.

        :param judge: without memory of earlier verdicts.
        """
        with self._lock:
            if not self._is_new(judge.dag_id, request):
                return
            self._latest[judge.dag_id] = Recheck(request, len(results), datetime.now(UTC))
        self.start(lambda: self._work(judge, published, results))

    def is_new(self, dag_id: str, request: RecheckRequest) -> bool:
        """Return whether this server has to begin for a request, and can."""
        with self._lock:
            return self._is_new(dag_id, request)

    def _is_new(self, dag_id: str, request: RecheckRequest) -> bool:
        latest = self._latest.get(dag_id)
        return latest is None or (latest.is_over and latest.request.number < request.number)

    def start(self, work: Callable[[], None]) -> None:
        """Work beside the requests."""
        threading.Thread(target=work, name="verifies a range for its page", daemon=True).start()

    def _work(self, judge: Judge, published: PublishedResults, results: Sequence[PublishedResult]) -> None:
        try:
            for result in results:
                self._verify(judge, published, result)
        finally:
            with self._lock:
                latest = self._latest[judge.dag_id]
                self._latest[judge.dag_id] = replace(latest, ended=datetime.now(UTC))

    def _verify(self, judge: Judge, published: PublishedResults, result: PublishedResult) -> None:
        failed: tuple[str, ...] = ()
        try:
            published.provide(judge.dag_id, result)
            state = judge.state(result)
            known = verify(judge, result)
            if known.judgement and judge.state(result) == state:
                self._kept.put((result.folder, result.key, ""), state, known.judgement)
        except (ConfidentialSparkError, OSError) as error:
            log.warning("%s of %s cannot be verified: %s", result.key, judge.dag_id, error)
            failed = (result.key,)
        with self._lock:
            latest = self._latest[judge.dag_id]
            self._latest[judge.dag_id] = replace(
                latest, done=latest.done + 1, failed=(*latest.failed, *failed)
            )


RECHECKS = Rechecks()
