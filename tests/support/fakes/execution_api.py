"""Airflow's execution API for one task instance, so that a task runs alone, exactly as a worker runs it.

Its memory is one JSON file: a worker that is a process of its own, and is killed, leaves in it what it said.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import BaseOperator

_NOW = datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Outcome:
    """How one execution of a task ended.

    :param state: Airflow's, e.g. ``success``, ``failed``, ``up_for_retry``, ``deferred``.
    :param deferral: what the task asked to wait for.
    """

    state: str
    error: BaseException | None
    deferral: Any = None

    @property
    def story(self) -> str:
        """The error and those it came from: the operator's clean-up raises one of its own over the cause."""
        texts, error, seen = [], self.error, set[int]()
        while error is not None:
            assert id(error) not in seen, "an error is among its own causes"
            seen.add(id(error))
            texts.append(str(error))
            error = error.__cause__ or error.__context__
        return "\n".join(texts)


@dataclass
class TaskRun:
    """One task instance through all its tries.

    :param memory: a file for what the API server remembers.
    :param max_tries: how many tries the task has after its first one.
    """

    memory: Path
    operator: BaseOperator
    run_id: str = "manual__2018-05"
    max_tries: int = 0
    try_number: int = 1
    id: UUID = field(default_factory=uuid4)

    @property
    def xcoms(self) -> dict[str, Any]:
        found: dict[str, Any] = self._read()["xcoms"]
        return found

    @property
    def task_state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._read()["store"]
        return found

    def execute(self, next_method: str | None = None, next_kwargs: Any = None) -> Outcome:
        """Run the task in this process, as a worker does, once."""
        from airflow.sdk.api.client import Client
        from airflow.sdk.api.datamodels._generated import TaskInstance
        from airflow.sdk.execution_time.supervisor import run_task_in_process

        def answer(request: httpx.Request) -> httpx.Response:
            return self._answer(request, next_method, next_kwargs)

        instance = TaskInstance(
            id=self.id,
            task_id=self.operator.task_id,
            dag_id=self.operator.dag_id,
            run_id=self.run_id,
            try_number=self.try_number,
            dag_version_id=uuid4(),
        )
        client = Client(base_url=None, dry_run=True, token="", transport=httpx.MockTransport(answer))
        before = signal.getsignal(signal.SIGTERM)
        try:
            result = run_task_in_process(instance, self.operator, client=client)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)
        state = str(getattr(result.state, "value", result.state))
        deferral = result.msg if state == "deferred" else None
        return Outcome(state, result.error, deferral)

    def execute_deferrable(self, wakes: int = 20) -> Outcome:
        """Run the task, its trigger whenever it defers, and the task again, until it has ended."""
        return self.resume(self.execute(), wakes)

    def resume(self, outcome: Outcome, wakes: int = 20) -> Outcome:
        """Go on with a task that has deferred, until it has ended."""
        from airflow.sdk.serde import serialize

        while outcome.deferral is not None and wakes:
            event = serialize(asyncio.run(_first_event(outcome.deferral)))
            kwargs = {**(outcome.deferral.next_kwargs or {}), "event": event}
            outcome, wakes = self.execute(outcome.deferral.next_method, kwargs), wakes - 1
        return outcome

    def start_worker(self) -> Worker:
        """Run the task in a process of its own, to be killed; it ends with 0 when the task succeeded."""
        return Worker.start(lambda: self.execute().state == "success")

    @staticmethod
    def start_triggerer(deferral: Any) -> Worker:
        """Run the trigger of a deferral in a process of its own, which can be killed."""
        return Worker.start(lambda: asyncio.run(_first_event(deferral)) is not None)

    def _answer(self, request: httpx.Request, next_method: str | None, next_kwargs: Any) -> httpx.Response:
        path = request.url.path.strip("/").split("/")
        if path[0] == "task-instances" and path[-1] == "run":
            return httpx.Response(200, json=self._context(next_method, next_kwargs))
        if path[0] == "store":
            return self._keyed("store", unquote(path[3]) if len(path) > 3 else "", request)
        if path[0] == "xcoms":
            return self._keyed("xcoms", unquote(path[4]), request)
        if path[0] in ("connections", "variables"):
            return httpx.Response(404, json={"detail": {"reason": "not_found"}})
        return httpx.Response(200, json={})

    def _keyed(self, kind: str, key: str, request: httpx.Request) -> httpx.Response:
        state = self._read()
        if request.method == "GET":
            if key not in state[kind]:
                return httpx.Response(404, json={"detail": {"reason": "not_found"}})
            found = {"value": state[kind][key]}
            return httpx.Response(200, json={"key": key, **found} if kind == "xcoms" else found)
        if request.method == "DELETE":
            state[kind] = {name: value for name, value in state[kind].items() if key and name != key}
        else:
            body = json.loads(request.content)
            state[kind][key] = body["value"] if kind == "store" else body
        # In one step: a test reads it while its worker writes.
        written = self.memory.with_suffix(".new")
        written.write_text(json.dumps(state))
        written.replace(self.memory)
        return httpx.Response(200, json={})

    def _read(self) -> dict[str, Any]:
        if not self.memory.exists():
            return {"store": {}, "xcoms": {}}
        state: dict[str, Any] = json.loads(self.memory.read_text())
        return state

    def _context(self, next_method: str | None, next_kwargs: Any) -> dict[str, Any]:
        run: dict[str, Any] = {
            "dag_id": self.operator.dag_id,
            "run_id": self.run_id,
            # As of a run that somebody triggers with a month: no date that could contradict it.
            "logical_date": None,
            "data_interval_start": None,
            "data_interval_end": None,
            "start_date": _NOW,
            "end_date": None,
            "run_after": _NOW,
            "run_type": "manual",
            "state": "running",
            "conf": {},
            "consumed_asset_events": [],
            "partition_key": None,
        }
        resumed = {"next_method": next_method, "next_kwargs": next_kwargs} if next_method else {}
        should_retry = self.try_number <= self.max_tries
        return {"dag_run": run, "max_tries": self.max_tries, "should_retry": should_retry, **resumed}


@dataclass(frozen=True)
class Worker:
    """A worker or triggerer: a process of its own."""

    pid: int

    @classmethod
    def start(cls, work: Callable[[], bool]) -> Worker:
        """Do the work in a child, which ends with 0 when it returned True."""
        pid = os.fork()
        if pid:
            return cls(pid)
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)

    def kill(self) -> None:
        """SIGKILL, as of a machine that goes away."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def terminate(self) -> int:
        """SIGTERM, as of a task that is stopped in the UI; returns the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code: 0 for a task that succeeded."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


async def _first_event(deferral: Any) -> Any:
    """Run the trigger of a deferral as the triggerer does, until its first event."""
    from airflow.sdk._shared.module_loading import import_string
    from airflow.serialization.decoders import smart_decode_trigger_kwargs

    trigger_class: Callable[..., Any] = import_string(deferral.classpath)
    decode: Callable[[Any], dict[str, Any]] = smart_decode_trigger_kwargs
    kwargs = decode(deferral.trigger_kwargs)
    trigger = trigger_class(**kwargs)
    return (await anext(trigger.run())).payload
