"""What a machine must have before a cluster can be brought up on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from confidential_spark.core.errors import ConfigurationError

UNFIT = 3
ELSEWHERE = "or name any other cluster in $KUBECONFIG, e.g. one by kind: CONTRIBUTING.md says how"
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
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "tuning")
# Without it packets between pods pass no rule: neither services nor network policies would work.
BRIDGE_RULES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class MachineUnfitError(ConfigurationError):
    """This machine lacks what a cluster needs; another one may have it."""


def refusal(unfit: MachineUnfitError) -> str:
    """Return what is said, loudly, where no cluster can be had."""
    return f"!!! NO TEST CLUSTER: {unfit.diagnostics()}"


def install_packages() -> None:
    """Install what :func:`require_machine` asks for.

    :raises MachineUnfitError: ``cluster-install-failed`` without root or apt, or when apt refuses.
    """
    # Docker's own containerd stands in the way of Debian's: rather no cluster than no Docker.
    options = ["-qq", "--no-install-recommends", "--no-remove", "--yes"]
    commands = (["update", "-qq"], ["install", *options, *DEBIAN_PACKAGES])
    try:
        if os.geteuid() != 0:
            raise PermissionError("not root")
        for command in commands:
            subprocess.run(["apt-get", *command], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as failed:
        raise MachineUnfitError(
            "Debian's packages could not be installed",
            code="cluster-install-failed",
            got=failed,
            expected="root on Debian",
            action=f"install them by hand: {' '.join(DEBIAN_PACKAGES)}, {ELSEWHERE}",
        ) from failed


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
            action=f"run `python -m tests.support.cluster install` as root, {ELSEWHERE}",
        )


def _may_make_namespaces() -> bool:
    trial = [*UNSHARE, "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def cni_folder() -> Path | None:
    """Return the folder that has every CNI plugin we use."""
    return next((at for at in CNI_FOLDERS if all((at / name).is_file() for name in CNI_PLUGINS)), None)
