"""What the command line answers where there is no cluster, no root, no package, or no sense."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.cgroups import remove_cgroup
from tests.support.cluster.namespaces import end_node, find_node, start_node
from tests.support.cluster.places import REPOSITORY, Places

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cluster")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that is no node."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def run(places: Places, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.cluster", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"CONFIDENTIAL_SPARK_CACHE_DIR": str(places.home.parent)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unfit_machine_is_said_loudly_and_all_at_once(places: Places, tmp_path: Path) -> None:
    done = run(places, "up", PATH=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("!!! NO TEST CLUSTER: [cluster-machine-unfit]")
    for missing in ("containerd", "nsenter", "iptables"):
        assert f"the command {missing}" in done.stderr
    assert not places.home.exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("kubeconfig",), id="kubeconfig"),
        pytest.param(("load-image", "any.tar"), id="load-image"),
        pytest.param(("epc", "1Mi"), id="epc"),
        pytest.param(("stop", "kubelet"), id="stop"),
        pytest.param(("kubectl", "get", "pods"), id="kubectl"),
    ],
)
def test_without_a_cluster_it_says_how_to_get_one(places: Places, command: tuple[str, ...]) -> None:
    done = run(places, *command)
    assert done.returncode == 1
    assert "[cluster-down]" in done.stderr
    assert "python -m tests.support.cluster up" in done.stderr


@pytest.mark.parametrize("quantity", ["", "-1", "1.5Gi", "64 Mi", "64mi", "١", "0x10", "9" * 30, "1\n"])
def test_a_capacity_that_is_none_is_refused(places: Places, quantity: str) -> None:
    done = run(places, "epc", "--", quantity)
    assert (done.returncode, "[cluster-quantity]" in done.stderr) == (1, True), done.stderr


def test_down_without_a_cluster_does_nothing(places: Places) -> None:
    assert run(places, "down").returncode == 0
    assert run(places, "status").returncode == 1


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(None, id="no-record"),
        pytest.param("", id="cut-off"),
        pytest.param("[]", id="other-shape"),
        pytest.param('{"pid": "x", "started": "1"}', id="no-number"),
        pytest.param('{"pid": 4194305, "started": "boot/1"}', id="no-such-process"),
        pytest.param('{"pid": 4194305, "started": null}', id="never-started"),
    ],
)
def test_a_record_that_names_no_process_is_no_node(places: Places, record: str | None) -> None:
    places.node.mkdir(parents=True)
    if record is not None:
        places.record.write_text(record)
    assert find_node(places) is None


def test_a_process_that_got_an_ended_nodes_pid_is_left_alone(
    places: Places, sleeper: subprocess.Popen[bytes]
) -> None:
    places.node.mkdir(parents=True)
    places.record.write_text(json.dumps({"pid": sleeper.pid, "started": "an earlier boot/1"}))
    end_node(places)
    assert sleeper.poll() is None


@pytest.mark.parametrize("home", ["/var/lib/ci/cache/cluster", "/run/cluster"])
def test_a_home_that_the_node_covers_is_refused(home: str) -> None:
    with pytest.raises(ConfidentialSparkError) as refused:
        start_node(Places(Path(home)), Path("/programs"), Path("/network"), listener=None)
    assert refused.value.code == "cluster-home-covered"


def test_a_cgroup_that_is_not_there_is_removed_already() -> None:
    remove_cgroup("confidential-spark-never-made")
