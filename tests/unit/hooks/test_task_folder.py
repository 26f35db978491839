"""Temporary folders of tasks, killed or not."""

from __future__ import annotations

import os
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest
from confidential_spark.hooks import task_folder as module
from confidential_spark.hooks.task_folder import PREFIX, remove_abandoned, task_folder

from tests.support.interrupted_calls import in_child, start_child

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leave_a_folder() -> None:
    """Die with a folder that has content."""

    def work() -> None:
        with task_folder("enclave") as folder:
            (folder / "work").mkdir()
            (folder / "work" / "trips").write_text("left")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == signal.SIGKILL


@pytest.mark.parametrize("error", [None, RuntimeError("the task fails")], ids=["success", "failure"])
def test_is_private_and_gone_at_the_end(temporary, error):
    with pytest.raises(RuntimeError) if error else task_folder("other"), task_folder("enclave") as folder:
        (folder / "file").write_text("content")
        assert folder.name.startswith("confidential-spark-task-enclave-")
        assert folder.stat().st_mode & 0o777 == 0o700
        if error:
            raise error
    assert list(temporary.iterdir()) == []


def test_what_a_killed_task_leaves_is_removed_by_the_next(temporary):
    leave_a_folder()
    (left,) = temporary.iterdir()
    with task_folder("attest") as folder:
        assert list(temporary.iterdir()) == [folder]
    assert not left.exists()


def test_the_folder_of_a_task_that_runs_stays(temporary):
    begun, end = os.pipe(), os.pipe()

    def work() -> None:
        with task_folder("enclave"):
            os.write(begun[1], b"!")
            os.read(end[0], 1)

    child = start_child(work)
    os.read(begun[0], 1)
    (held,) = temporary.iterdir()
    assert remove_abandoned() == []
    assert held.is_dir()
    os.write(end[1], b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert list(temporary.iterdir()) == []


def test_foreign_things_are_left_alone(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").write_text("mine")
    (temporary / "enclave-1").mkdir()
    assert remove_abandoned() == []
    assert len(list(temporary.iterdir())) == 3
    assert elsewhere.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")
def test_the_folders_of_another_user_are_left_alone(temporary):
    foreign = temporary / f"{PREFIX}enclave-1"
    foreign.mkdir()
    os.chown(foreign, 65534, 65534)
    assert remove_abandoned() == []
    assert foreign.is_dir()


def test_a_folder_that_was_taken_for_abandoned_while_it_was_made_is_made_anew(temporary, monkeypatch):
    real, taken = tempfile.mkdtemp, []

    def overtaken(**options: str) -> str:
        folder = real(**options)
        if not taken:
            taken.append(folder)
            assert in_child(remove_abandoned) == 0
        return folder

    monkeypatch.setattr(module.tempfile, "mkdtemp", overtaken)
    with task_folder("enclave") as folder:
        assert str(folder) not in taken
        assert list(temporary.iterdir()) == [folder]


def test_many_at_once_remove_none_of_each_other(temporary):
    def work() -> None:
        for _ in range(50):
            with task_folder("enclave") as folder:
                (folder / "file").write_text("content")
                assert (folder / "file").read_text() == "content"

    children = [start_child(work) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert list(temporary.iterdir()) == []
