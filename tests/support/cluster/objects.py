"""Objects that the tests create on the cluster, and waiting for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.cluster.conftest import CommandLine

SLEEP = ("/busybox", "sleep", "600")


def pod(name: str, image: str, *command: str, **container: object) -> dict[str, Any]:
    """Return a pod of one container, with its name as label ``app``."""
    only = {"name": "c", "image": image, "command": list(command), **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [only]},
    }


def wait_for(line: CommandLine, what: str, condition: str, *options: str) -> None:
    """Wait until something has a condition, and tell how it was when it does not come to that."""
    done = line.run("kubectl", "wait", what, f"--for={condition}", "--timeout=60s", *options, check=False)
    assert done.returncode == 0, done.stderr + line.kubectl("describe", what, *options)
