"""A build's log: a group for each step, progress between the groups, nothing lost."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confidential_spark.image_build.build_log import BuildLog
from confidential_spark.platforms.docker.images import EngineMessages


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    warning = info


class Store(dict):
    def set(self, key: str, value: object) -> None:
        self[key] = value


class BrokenStore:
    def set(self, key: str, value: object) -> None:
        raise ConnectionError("no API server")


def build(store: object, *texts: str) -> list[str]:
    log, messages = Log(), EngineMessages()
    context = {"ti": SimpleNamespace(task_id="build_image"), "task_state_store": store}
    build_log = BuildLog(log, context)
    with build_log.group("Sending the build context"):
        for text in texts:
            for line in messages.read({"stream": f"{text}\n"}):
                build_log(line, messages)
    return log.lines


def test_each_step_is_a_group_and_progress_is_outside() -> None:
    store = Store()
    assert build(store, "hello", "Step 1/2 : FROM a", " ---> 1", "Step 2/2 : RUN b", "done") == [
        "::group::Sending the build context",
        "hello",
        "::endgroup::",
        "… build_image: step 1 of 2",
        "::group::Step 1/2 : FROM a",
        " ---> 1",
        "::endgroup::",
        "… build_image: step 2 of 2",
        "::group::Step 2/2 : RUN b",
        "done",
        "::endgroup::",
    ]
    assert store["progress"] == {"done": 1, "total": 2, "stage": "build", "text": "step 2 of 2"}


def test_a_page_that_is_away_does_not_stop_a_build() -> None:
    lines = build(BrokenStore(), "Step 1/1 : FROM a", "done")
    assert "done" in lines
    assert any("no API server" in line for line in lines)


def test_a_group_is_closed_when_the_build_fails() -> None:
    log = Log()
    build_log = BuildLog(log, {"ti": SimpleNamespace(task_id="t"), "task_state_store": Store()})
    with pytest.raises(RuntimeError), build_log.group("x"):
        raise RuntimeError
    assert log.lines == ["::group::x", "::endgroup::"]
