"""What an engine says, as a reader of a task's log wants it: a group for each step, progress between them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confidential_spark.operators.base import PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context
    from airflow.sdk.types import Logger
    from pydantic import JsonValue

    from confidential_spark.platforms.docker.images import EngineMessages


class BuildLog:
    """Takes the engine's lines; see :class:`confidential_spark.platforms.docker.images.ImageStore`."""

    def __init__(self, log: Logger, context: Context) -> None:
        """Start outside of every group."""
        self._log = log
        self._context = context
        self._step: tuple[int, int] | None = None
        self._open = False

    def __call__(self, line: str, messages: EngineMessages) -> None:
        """Log a line; one that begins a step begins a group, and reports progress."""
        if messages.step is not None and messages.step != self._step:
            self._step = messages.step
            self._end()
            self._progress(*messages.step)
            self._begin(line)
        else:
            self._log.info("%s", line)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Put the lines of the block into one group; one that a step began ends with it, too."""
        self._begin(title)
        try:
            yield
        finally:
            self._end()

    def _begin(self, title: str) -> None:
        self._log.info("::group::%s", title)
        self._open = True

    def _end(self) -> None:
        if self._open:
            self._log.info("::endgroup::")
        self._open = False

    def _progress(self, step: int, steps: int) -> None:
        text = f"step {step} of {steps}"
        self._log.info("%s %s: %s", PROGRESS, self._context["ti"].task_id, text)
        record: dict[str, JsonValue] = {"done": step - 1, "total": steps, "stage": "build", "text": text}
        try:
            self._context["task_state_store"].set("progress", record)
        except Exception as error:  # a page is no reason to lose a build
            self._log.warning("The progress is not on the task's page: %s", error)
