"""What a machine must have before a cluster can be brought up on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from confidential_spark.core.errors import ConfigurationError

# busybox-static is what the tests of the cluster itself run in their pods.
DEBIAN_PACKAGES = (
    "busybox-static",
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
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "tuning")
# Without it packets between pods pass no rule: neither services nor network policies would work.
BRIDGE_RULES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class MachineUnfitError(ConfigurationError):
    """This machine lacks what a cluster needs; another one may have it."""


def require_machine() -> None:
    """Refuse a machine that is not Linux with root, containerd, CNI plugins and iptables.

    :raises MachineUnfitError: ``cluster-machine-unfit`` with everything that is missing at once.
    """
    missing = [f"the command {name}" for name in COMMANDS if shutil.which(name) is None]
    if cni_folder() is None:
        missing.append("the CNI plugins " + ", ".join(CNI_PLUGINS))
    if not BRIDGE_RULES.is_file():
        missing.append("the kernel's br_netfilter (modprobe br_netfilter)")
    if os.geteuid() != 0:
        missing.insert(0, "root")
    elif not missing and not _may_make_namespaces():
        missing.append("the right to make namespaces")
    if missing:
        raise MachineUnfitError(
            "this machine cannot run the test cluster",
            code="cluster-machine-unfit",
            got="missing: " + ", ".join(missing),
            expected="root on Linux with Debian's packages " + " ".join(DEBIAN_PACKAGES),
            action="run `python -m tests.cluster install` as root, or name a cluster in $KUBECONFIG",
        )


def _may_make_namespaces() -> bool:
    trial = [*UNSHARE, "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def cni_folder() -> Path | None:
    """Return the folder that has every CNI plugin we use."""
    return next((at for at in CNI_FOLDERS if all((at / name).is_file() for name in CNI_PLUGINS)), None)
