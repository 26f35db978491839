"""What outlives a worker: which container a task's try has started, kept in Airflow's task state store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from confidential_spark.operators.attempt import EnclaveRun

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pydantic import JsonValue

ENCLAVE_KEY = "enclave"
LOG_POSITION_KEY = "log_position"
EXECUTORLESS_KEY = "executorless_since"


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

    def continues_in(self, context: Context) -> bool:
        """Return whether this task goes on where the stored try stopped; a cleared one does not."""
        return self.max_tries == context["ti"].max_tries and self.run.results_dir.is_dir()


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
