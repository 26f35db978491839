"""What a machine must have before a cluster can be brought up on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from confidential_spark.core.errors import ConfigurationError

DEBIAN_PACKAGES = (
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "mount",
    "runc",
    "util-linux",
)
COMMANDS = ("conntrack", "containerd", "ctr", "ip", "iptables", "mount", "nsenter", "runc", "unshare")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback")


class MachineUnfitError(ConfigurationError):
    """This machine lacks what a cluster needs; another one may have it."""


def require_machine() -> None:
    """Refuse a machine that is not Linux with root, containerd, CNI plugins and iptables.

    :raises MachineUnfitError: ``cluster-machine-unfit`` with everything that is missing at once.
    """
    missing = [f"the command {name}" for name in COMMANDS if shutil.which(name) is None]
    if cni_folder() is None:
        missing.append("the CNI plugins " + ", ".join(CNI_PLUGINS))
    if os.geteuid() != 0:
        missing.insert(0, "root")
    if missing:
        raise MachineUnfitError(
            "this machine cannot run the test cluster",
            code="cluster-machine-unfit",
            got="missing: " + ", ".join(missing),
            expected="root on Linux with Debian's packages " + " ".join(DEBIAN_PACKAGES),
            action="run `python -m tests.cluster install` as root, or name a cluster in $KUBECONFIG",
        )


def cni_folder() -> Path | None:
    """Return the folder that has every CNI plugin we use."""
    return next((at for at in CNI_FOLDERS if all((at / name).is_file() for name in CNI_PLUGINS)), None)
