"""One try of one job in an enclave: what is fixed before launch and what is handed on after it.

Shared by the operators of every platform, which differ only in how they start the agent.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confidential_spark.agent.protocol import NONCE_BYTES, b64url
from confidential_spark.core import base64url
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.jobs.job import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.operators.base import RunScope
    from confidential_spark.settings import Settings

XCOM_KEY = "enclave_run"


def attempt_prefix(airflow_run_id: str) -> str:
    """Return what the staging folders of a run's tries are called, before their last dot."""
    return safe_name(airflow_run_id)


@dataclass(frozen=True)
class EnclaveRun:
    """What verification will expect, written down before anything is launched.

    :param run_id: the run's name inside the quote.
    :param nonce: 32 bytes, base64url; fresh for each try.
    :param started_at: ISO time before launch; no token may be older.
    :param key: what the result is published under, e.g. ``month=2018-05``.
    :param staging: folder of this try's files.
    """

    run_id: str
    nonce: str
    started_at: str
    key: str
    staging: str

    @classmethod
    def prepare(cls, context: Context, scope: RunScope, job: SparkJob, settings: Settings) -> Self:
        """Mint the nonce, make the try's staging folder, and store both before launch."""
        key = scope.publication_key(job)
        nonce = secrets.token_bytes(NONCE_BYTES)
        # A cleared run counts its tries anew, so the number alone would not tell two tries apart.
        attempt_id = f"{attempt_prefix(scope.airflow_run_id)}.try{scope.try_number}-{nonce[:4].hex()}"
        run = cls(
            run_id=scope.run_id,
            nonce=b64url(nonce),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            key=key,
            staging=str(ResultStore(settings.results_dir, scope.dag_id).stage(key, attempt_id)),
        )
        run.hand_on(context)
        return run

    def hand_on(self, context: Context) -> None:
        """Store the run as XCom, which each try of a task begins without."""
        context["ti"].xcom_push(key=XCOM_KEY, value=self.to_xcom())

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_xcom` wrote."""
        return cls(**value)

    def to_xcom(self) -> dict[str, str]:
        """Return the run as a small XCom value."""
        return asdict(self)

    @property
    def results_dir(self) -> Path:
        """Folder of this try's results."""
        return Path(self.staging)

    @property
    def nonce_bytes(self) -> bytes:
        """The nonce as its 32 bytes."""
        return base64url.decode(self.nonce)
