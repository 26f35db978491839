"""On the cluster: pods run, are seen, limited and counted, reach each other and outlive an outage."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster.objects import SLEEP, pod, wait_for

if TYPE_CHECKING:
    from tests.support.cluster.conftest import CommandLine

pytestmark = pytest.mark.cluster

SHELL = ("/busybox", "sh", "-c")


def test_logs_of_a_pod_are_read(command_line: CommandLine, apply, image: str) -> None:
    apply(pod("hello", image, "/busybox", "echo", "hello from a pod"))
    wait_for(command_line, "pod/hello", "jsonpath={.status.phase}=Succeeded")
    assert command_line.kubectl("logs", "hello") == "hello from a pod\n"


def test_a_pods_exit_code_and_last_words_are_kept(command_line: CommandLine, apply, image: str) -> None:
    apply(pod("fails", image, *SHELL, "echo why > /dev/termination-log; exit 7"))
    wait_for(command_line, "pod/fails", "jsonpath={.status.phase}=Failed")
    path = "jsonpath={.status.containerStatuses[0].state.terminated['exitCode','message']}"
    assert command_line.kubectl("get", "pod", "fails", f"--output={path}").split() == ["7", "why"]


def test_a_service_is_reached_by_its_name(command_line: CommandLine, apply, image: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "site"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    apply(service, pod("web", image, "/probe", "serve", ":8000", "served"), pod("client", image, *SLEEP))
    for name in ("web", "client"):
        wait_for(command_line, f"pod/{name}", "condition=Ready")
    # The service's own pod must reach it too.
    for client in ("client", "web"):
        asked = command_line.run("kubectl", "exec", client, "--", "/probe", "get", "http://site", check=False)
        assert asked.stdout == "served\n", asked.stderr


def test_memory_above_the_limit_is_killed(command_line: CommandLine, apply, image: str) -> None:
    hog = (*SHELL, "x=0123456789abcdef; while :; do x=$x$x; done")
    apply(pod("hog", image, *hog, resources={"limits": {"memory": "32Mi", "cpu": "1"}}))
    wait_for(command_line, "pod/hog", "jsonpath={.status.phase}=Failed")
    path = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    assert command_line.kubectl("get", "pod", "hog", f"--output={path}") == "OOMKilled"


def test_an_image_is_found_by_its_digest(command_line: CommandLine, apply, image_by_digest: str) -> None:
    assert "@sha256:" in image_by_digest
    apply(pod("by-digest", image_by_digest, "/busybox", "true", imagePullPolicy="IfNotPresent"))
    wait_for(command_line, "pod/by-digest", "jsonpath={.status.phase}=Succeeded")


def test_enclave_memory_is_counted(command_line: CommandLine, apply, image: str) -> None:
    needs = {"resources": {"limits": {"sgx.intel.com/epc": "16Mi"}}}
    apply(pod("no-epc", image, "/busybox", "true", **needs))
    wait_for(command_line, "pod/no-epc", "condition=PodScheduled=false")
    assert "Insufficient sgx.intel.com/epc" in command_line.kubectl("describe", "pod/no-epc")
    command_line.run("epc", "64Mi")
    wait_for(command_line, "pod/no-epc", "jsonpath={.status.phase}=Succeeded")
    command_line.run("epc", "0")


def test_a_pod_outlives_an_outage_of_the_api_server(command_line: CommandLine, apply, image: str) -> None:
    apply(pod("lasting", image, *SHELL, "/busybox sleep 5; echo done"))
    wait_for(command_line, "pod/lasting", "condition=Ready")
    command_line.run("stop", "kube-apiserver")
    subprocess.run(["sleep", "1"], check=True)
    assert command_line.run("kubectl", "get", "nodes", check=False).returncode != 0
    command_line.run("start", "kube-apiserver")
    while command_line.run("status", check=False).returncode != 0:
        pass
    wait_for(command_line, "pod/lasting", "jsonpath={.status.phase}=Succeeded")
    assert command_line.kubectl("logs", "lasting") == "done\n"


def test_the_machine_has_nothing_of_it(command_line: CommandLine, image: str) -> None:
    own = str(command_line.places.home)
    assert own not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert "pods0" not in links
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "KUBE-" not in rules
