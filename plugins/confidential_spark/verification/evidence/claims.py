"""What evidence says of its run before anything is verified.

It helps to choose by what to judge, and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.verification.evidence.bundle import Evidence


@dataclass(frozen=True)
class Claims:
    """The unverified names; empty where the evidence has none, or is malformed.

    :param finished_at: ISO 8601 with a zone, at a time that the verifier's clock can have.
    """

    run_id: str = ""
    job_file_sha256: str = ""
    finished_at: str = ""

    @classmethod
    def of(cls, evidence: bytes | None) -> Claims:
        """Read an evidence bundle; None where there is none."""
        try:
            members = Evidence.parse(evidence or b"").statement.predicate.members
        except ConfidentialSparkError:
            return cls()
        job, finished = members.get("job"), members.get("finished_at")
        return cls(
            run_id=_text(members.get("run_id")),
            job_file_sha256=_text(job.get("file_sha256")) if isinstance(job, dict) else "",
            finished_at=str(finished) if is_moment(finished) else "",
        )

    @property
    def end(self) -> datetime | None:
        """The end of the run."""
        return datetime.fromisoformat(self.finished_at) if self.finished_at else None


def is_moment(value: object) -> bool:
    """Whether it is ISO 8601 with a zone, at a time that the verifier's clock can have."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment is not None and moment.utcoffset() is not None and moment.timestamp() >= 0
    except (ValueError, OverflowError):
        return False


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
