"""Enclaves that outlive the worker that started them: waited for, continued by the next try, always removed.

A platform's enclave runs on a service, a Docker engine or a Kubernetes cluster. That may be away for a while,
and the worker may die: neither is the end of a run.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from airflow.sdk.exceptions import TaskDeferred

from confidential_spark.core.errors import ConfidentialSparkError, EnclaveError
from confidential_spark.operators.attempt import EnclaveRun, StoredTry, save_log_position
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.outcomes.links import PLACE_KEY, REMOTE_LINKS, EnclavePlaceLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol, TaskInstanceKey

    from confidential_spark.operators.base import RunScope
    from confidential_spark.operators.outcomes.links import EnclavePlace

log = logging.getLogger(__name__)
T = TypeVar("T")

# The log's position is a row in Airflow's database, so it is not written with every line.
POSITION_INTERVAL_SECONDS = 5.0
PAUSE_GROWTH = 1.5
# No run takes so long, so what ended then belongs to none.
ABANDONED_SECONDS = 72 * 3600.0
UNFINISHED = ["queued", "running"]


class ResumableEnclave(Protocol):
    """What one try has started on its platform, known by the try's nonce."""

    def leftover(self) -> str | None:
        """Return what another try can continue with, for people, or None when there is nothing of use."""

    def remove(self) -> None:
        """Remove all of it; there may be nothing.

        :raises EnclaveError: the service refuses, or does not answer.
        """


class ResumableTask(ConfidentialOperator):
    """Base of the tasks whose enclave survives their worker, and is continued by the next try.

    The try is written down before anything is created. Every end of the task but the death of its worker
    removes what it has started.

    :cvar away: codes of the errors that leave the enclave at work: its service does not answer, or not us.
    """

    operator_extra_links = REMOTE_LINKS
    away: ClassVar[frozenset[str]]
    _next_position: float = 0.0

    def enclave(self, context: Context, nonce: str) -> ResumableEnclave:
        """Return the enclave of the try with this nonce, started or not."""
        raise NotImplementedError

    def continued(self, context: Context) -> EnclaveRun | None:
        """Return the run whose enclave a dead worker has left; one that is of no use is removed."""
        stored = StoredTry.load(context)
        if stored is None:
            return None
        enclave = self.enclave(context, stored.run.nonce)
        leftover = enclave.leftover()
        if leftover and stored.continues_in(context, self.settings):
            self.announce_progress(f"goes on with {leftover}")
            stored.run.push(context)
            return stored.run
        enclave.remove()
        return None

    def prepared(self, context: Context, scope: RunScope) -> EnclaveRun:
        """Return a new run, stored where the next try looks before anything is created."""
        run = EnclaveRun.prepare(context, scope, self.job, self.settings)
        StoredTry.store(context, run)
        return run

    def show_place(self, context: Context, place: EnclavePlace) -> None:
        """Say where the enclave runs, for the task's buttons; they are no reason to lose a run."""
        ti = context["ti"]
        link, key = EnclavePlaceLink(), SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id)
        try:
            ti.xcom_push(key=PLACE_KEY, value=place.to_xcom())
            # Airflow itself makes a task's links only when it has ended.
            ti.xcom_push(key=link.xcom_key, value=link.get_link(self, ti_key=cast("TaskInstanceKey", key)))
        except Exception as error:
            self.log.warning("The %s has no button on the task's page: %s", place.kind, error)

    def remember(self, context: Context, stamp: str) -> None:
        """Keep up to where the log is complete; that it cannot be kept is no reason to lose a run."""
        if not stamp or time.monotonic() < self._next_position:
            return
        self._next_position = time.monotonic() + POSITION_INTERVAL_SECONDS
        try:
            save_log_position(context, stamp)
        except Exception as error:
            self.log.warning("A next try would log some lines again: %s", error)

    @contextmanager
    def ended_with_the_task(self, context: Context, enclave: ResumableEnclave) -> Iterator[None]:
        """Remove the enclave however the block fails, unless the next try can go on with it.

        It can where the service is away, and where the process that supervises this one is gone, to which it
        reports by a pipe.
        """
        try:
            yield
        except (TaskDeferred, BrokenPipeError, ConnectionResetError):
            raise
        except ConfidentialSparkError as error:
            if error.code not in self.away:
                self.remove(context, enclave)
            raise
        except BaseException:
            self.remove(context, enclave)
            raise

    def remove(self, context: Context, enclave: ResumableEnclave) -> None:
        """Remove the enclave and forget it; the teardown removes what the service's silence leaves."""
        try:
            enclave.remove()
        except EnclaveError as error:
            self.log.warning("The enclave is not removed yet: %s", error)
            return
        try:
            StoredTry.forget(context)
        except Exception as error:
            self.log.warning("Airflow still knows the try, whose enclave is gone: %s", error)


def raise_if_cancelled(stopped: Callable[[], bool]) -> None:
    """Stop when somebody has asked the task to end.

    :raises EnclaveError: ``terminated``, retryable.
    """
    if stopped():
        raise EnclaveError(
            "The task was asked to end, so its enclave was ended too.",
            code="terminated",
            action="nothing, if it was meant; else run again",
            retryable=True,
        )


def ask_patiently(
    request: Callable[[], T],
    *,
    service: str,
    passes: Callable[[EnclaveError, bool], bool],
    patience: float,
    pause: float,
    stopped: Callable[[], bool] = lambda: False,
) -> T:
    """Ask a service until it answers; only its silence is waited for, never a refusal.

    :param request: may be sent more than once.
    :param service: its name, for people.
    :param passes: whether an error is silence; its second argument is whether there was silence before.
    :param patience: seconds without an answer before that is an error, from the first failure on: the request
        may be a transfer that takes long itself.
    :param pause: seconds between two requests.
    :param stopped: whether nobody waits for the answer any longer.
    :raises EnclaveError: what it refused, or its silence after the patience.
    """
    deadline: float | None = None
    while True:
        try:
            return request()
        except EnclaveError as failure:
            if stopped() or not passes(failure, deadline is not None):
                raise
            if deadline is None:
                deadline = time.monotonic() + patience
                if patience > 0:
                    log.warning("The %s does not answer; waiting for it: %s", service, failure)
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)


class Pauses:
    """Ever longer pauses between two looks at the same thing."""

    def __init__(self, first: float, longest: float) -> None:
        """Take seconds."""
        self._next = first
        self._longest = longest

    def wait(self) -> None:
        """Pause once."""
        time.sleep(self._next)
        self._next = min(PAUSE_GROWTH * self._next, self._longest)


@dataclass(frozen=True)
class Leftover:
    """Something of a run on its platform, which is in use or was left.

    :param kind: ``container``, ``volume`` or ``pod``.
    :param deployment: whose it is; empty where it does not say.
    :param age: seconds since it was made.
    :param ended: whether nothing of it is at work.
    """

    kind: str
    name: str
    deployment: str
    dag_id: str
    run_id: str
    age: float
    ended: bool

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.kind} {self.name[:63]} of {self.dag_id}/{self.run_id}"


def abandoned(found: Iterable[Leftover], deployment: str, ti: RuntimeTaskInstanceProtocol) -> list[Leftover]:
    """Return what nobody will continue or remove: ours of runs that are over, anybody's that ended days ago.

    A run whose task was killed is not over while Airflow may still try the task again.
    """

    @cache
    def is_over(dag_id: str, run_id: str) -> bool:
        return ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=UNFINISHED) == 0

    return [
        each
        for each in found
        if (each.ended and each.age > ABANDONED_SECONDS)
        or (each.deployment == deployment and is_over(each.dag_id, each.run_id))
    ]
