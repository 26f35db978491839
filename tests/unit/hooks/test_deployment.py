"""A deployment is known by its results folder, whoever asks first."""

from __future__ import annotations

import os

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.hooks.deployment import deployment_id
from confidential_spark.hooks.results.folder_store import FolderStore

from tests.support.interrupted_calls import start_child


def test_is_the_same_for_every_task_and_another_elsewhere(tmp_path) -> None:
    results = tmp_path / "not" / "there" / "yet"
    assert deployment_id(results) == deployment_id(results) != deployment_id(tmp_path)


def test_is_a_label_of_docker_and_kubernetes(tmp_path) -> None:
    assert deployment_id(tmp_path).isalnum()
    assert len(deployment_id(tmp_path)) <= 63


def test_many_that_ask_first_agree(tmp_path) -> None:
    told, tell = os.pipe()
    children = [start_child(lambda: os.write(tell, f"{deployment_id(tmp_path)} ".encode())) for _ in range(8)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    os.close(tell)
    assert set(os.read(told, 4096).decode().split()) == {deployment_id(tmp_path)}


def test_is_no_result(tmp_path) -> None:
    deployment_id(tmp_path)
    assert FolderStore(tmp_path, "nytaxi_local").published_months() == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "results").write_text("a file, not a folder")
    with pytest.raises(ResultError, match="results-unwritable"):
        deployment_id(tmp_path / "results")
