"""One try of one job in an enclave: what is fixed before launch, handed on after it, and outlives a worker.

Shared by the operators of every platform, which differ only in how they start the agent.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from confidential_spark.agent.protocol import NONCE_BYTES, b64url
from confidential_spark.core import base64url
from confidential_spark.core.stages import ENCLAVE_RUN_KEY
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs.job import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context
    from pydantic import JsonValue

    from confidential_spark.jobs.job import SparkJob
    from confidential_spark.operators.base import RunScope
    from confidential_spark.settings import Settings

# In Airflow's task state store, which survives the death of a worker.
ENCLAVE_KEY = "enclave"
LOG_POSITION_KEY = "log_position"
EXECUTORLESS_KEY = "executorless_since"


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
    :param staging: where this try's files are: a folder, or a prefix in Blob.
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
            staging=str(result_store(settings.results_dir, scope.dag_id).stage(key, attempt_id)),
        )
        run.push(context)
        return run

    def push(self, context: Context) -> None:
        """Store the run as XCom, which each try of a task begins without."""
        context["ti"].xcom_push(key=ENCLAVE_RUN_KEY, value=self.to_xcom())

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_xcom` wrote."""
        return cls(**value)

    def to_xcom(self) -> dict[str, str]:
        """Return the run as a small XCom value."""
        return asdict(self)

    @property
    def nonce_bytes(self) -> bytes:
        """The nonce as its 32 bytes."""
        return base64url.decode(self.nonce)


@dataclass(frozen=True)
class StoredTry:
    """A try that was written down before its container was created.

    :param run: whose nonce the container is labelled with.
    :param max_tries: as Airflow counts; clearing a task raises it.
    """

    run: EnclaveRun
    max_tries: int

    @classmethod
    def load(cls, context: Context) -> Self | None:
        """Return what an earlier try of this task has stored and not forgotten."""
        stored: Any = context["task_state_store"].get(ENCLAVE_KEY)
        try:
            return cls(EnclaveRun.from_xcom(stored["run"]), stored["max_tries"]) if stored else None
        except (TypeError, KeyError):
            # Another version of this project wrote it; its container cannot be taken over.
            return None

    @classmethod
    def store(cls, context: Context, run: EnclaveRun) -> None:
        """Write a new try down."""
        stored: JsonValue = {"run": dict(run.to_xcom()), "max_tries": context["ti"].max_tries}
        for key in (LOG_POSITION_KEY, EXECUTORLESS_KEY):
            context["task_state_store"].delete(key)
        context["task_state_store"].set(ENCLAVE_KEY, stored)

    @staticmethod
    def forget(context: Context) -> None:
        """Forget the try: its container is gone."""
        for key in (ENCLAVE_KEY, LOG_POSITION_KEY, EXECUTORLESS_KEY):
            context["task_state_store"].delete(key)

    def continues_in(self, context: Context, settings: Settings) -> bool:
        """Return whether this task goes on where the stored try stopped; a cleared one does not."""
        if self.max_tries != context["ti"].max_tries:
            return False
        return result_store(settings.results_dir, context["ti"].dag_id).is_staged(self.run.staging)


def log_position(context: Context) -> str:
    """Return the engine's time stamp of the last line that an earlier try has logged, or nothing."""
    return str(context["task_state_store"].get(LOG_POSITION_KEY, ""))


def save_log_position(context: Context, stamp: str) -> None:
    """Remember the last line that was logged."""
    context["task_state_store"].set(LOG_POSITION_KEY, stamp)


def executorless_since(context: Context) -> float | None:
    """Return since when, in seconds since 1970, an earlier look of this try has seen no executor run."""
    stored: Any = context["task_state_store"].get(EXECUTORLESS_KEY)
    return float(stored) if stored else None


def save_executorless_since(context: Context, since: float | None) -> None:
    """Remember it for the next look, or that there is an executor."""
    if since is None:
        context["task_state_store"].delete(EXECUTORLESS_KEY)
    else:
        context["task_state_store"].set(EXECUTORLESS_KEY, since)
