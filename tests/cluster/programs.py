"""Kubernetes' programs, etcd, CoreDNS and pause, compiled from Go modules at pinned versions and cached."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confidential_spark.core.errors import ConfidentialSparkError

from tests.cluster.machine import MachineUnfitError
from tests.cluster.places import GO_MODULE, Places

# What go.mod names as a tool, and the folders beside it; etcd's module is named after its folder.
PROGRAMS = {
    "coredns": "./coredns",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "pause": "./pause",
    "probe": "./probe",
    "server": "go.etcd.io/etcd/server/v3",
}
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
HEARTBEAT_SECONDS = 60


def ensure_programs(places: Places) -> Path:
    """Return the folder with every program, compiling them when this cache has not seen their versions.

    The caller holds the cluster's lock: what an earlier build left half done is removed.

    :raises MachineUnfitError: ``cluster-go-missing`` where there is no fit Go to compile them.
    :raises ConfidentialSparkError: ``cluster-build-failed`` with the end of the compiler's output.
    """
    wanted = programs_folder(places)
    if wanted.is_dir():
        return wanted
    _require_go()
    places.home.mkdir(parents=True, exist_ok=True)
    for killed in places.home.glob(".building-*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=places.home) as building:
        _compile(Path(building))
        # Renamed when complete, so that a build that was killed is never taken for a finished one.
        Path(building).rename(wanted)
        Path(building).mkdir()
    return wanted


def programs_folder(places: Places) -> Path:
    """Return where this cache keeps, or would keep, the programs of the pinned versions."""
    return places.home / f"programs-{kubernetes_version()}-{_inputs_digest()[:12]}"


def kubernetes_version() -> str:
    """Return the pinned version, e.g. ``v1.34.4``."""
    return _pinned(r"k8s\.io/kubernetes (v\S+)")


def _pinned(pattern: str) -> str:
    found = re.search(pattern, (GO_MODULE / "go.mod").read_text(encoding="utf-8"))
    if found is None:
        raise AssertionError(f"go.mod has no {pattern}")
    return found.group(1)


def _inputs_digest() -> str:
    """Hash everything that decides what is compiled: a change of it is never answered from the cache."""
    digest = hashlib.sha256(" ".join(_build_command("")).encode())
    for path in sorted(GO_MODULE.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(GO_MODULE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _require_go() -> None:
    wanted = _pinned(r"(?m)^go (1\.\d+)")
    go = shutil.which("go")
    found = (
        subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
        if go
        else "no Go"
    )
    release = re.match(r"go1\.(\d+)", found)
    if release is None or int(release.group(1)) < int(wanted.partition(".")[2]):
        raise MachineUnfitError(
            "the test cluster's programs must be compiled, and this machine has no fit Go",
            code="cluster-go-missing",
            got=found,
            expected=f"Go {wanted} or newer on PATH",
            action="install Go, or name a cluster in $KUBECONFIG",
        )


def _build_command(target: str) -> list[str]:
    major, minor = re.findall(r"\d+", kubernetes_version())[:2]
    values = {
        "gitVersion": kubernetes_version(),
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    # Without its version an API server calls itself 0.0 and clients refuse it as too old.
    stamps = [f"-X {package}.{key}={value}" for package in VERSION_PACKAGES for key, value in values.items()]
    options = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *stamps])]
    return ["nice", "-n", "19", "go", "build", *options, "-o", target, *PROGRAMS.values()]


def _compile(target: Path) -> None:
    print(
        f"compiling Kubernetes {kubernetes_version()}, etcd and CoreDNS: once per version, "
        "10 to 18 minutes on two free cores",
        file=sys.stderr,
        flush=True,
    )
    started = time.monotonic()
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryFile() as output:
        compiler = subprocess.Popen(
            _build_command(f"{target}/"), cwd=GO_MODULE, env=environment, stdout=output, stderr=output
        )
        try:
            _wait_with_heartbeat(compiler, started)
        finally:
            compiler.kill()
            compiler.wait()
        if compiler.returncode != 0:
            output.seek(0)
            raise ConfidentialSparkError(
                "the test cluster's programs did not compile",
                code="cluster-build-failed",
                got=output.read()[-2000:].decode(errors="replace").strip(),
                expected="exit code 0 of go build",
                action="check that Go's module proxy is reachable and that go.mod and go.sum are unchanged",
                retryable=True,
            )
    print(f"compiled in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _wait_with_heartbeat(compiler: subprocess.Popen[bytes], started: float) -> None:
    while True:
        try:
            compiler.wait(HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"  still compiling after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        else:
            return
