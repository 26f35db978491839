"""The node's programs, compiled from Go modules at pinned versions and cached."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster.machine import ELSEWHERE, MachineUnfitError
from tests.support.cluster.places import GO_MODULE, NETWORK_MODULE, Places

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
    "server": "go.etcd.io/etcd/server/v3",
}
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
HEARTBEAT_SECONDS = 60


@dataclass(frozen=True)
class GoModule:
    """One module of ours, and the folder of the cache that has its programs.

    :param sources: where its ``go.mod`` is.
    :param cached_as: how the folder's name begins.
    :param versioned_by: the module whose pinned version the folder is named after.
    :param stamped: packages that are told that version.
    :param contents: what is compiled, and
    :param duration: how long it takes, for whoever waits.
    """

    sources: Path
    cached_as: str
    versioned_by: str
    packages: tuple[str, ...]
    stamped: tuple[str, ...]
    contents: str
    duration: str

    @property
    def version(self) -> str:
        """The pinned version, e.g. ``v1.34.4``."""
        return self.pinned(re.escape(self.versioned_by) + r" (v\S+)")

    def pinned(self, pattern: str) -> str:
        """Return what ``go.mod`` has at the pattern's group."""
        found = re.search(pattern, (self.sources / "go.mod").read_text(encoding="utf-8"))
        if found is None:
            raise AssertionError(f"{self.sources}/go.mod has no {pattern}")
        return found.group(1)

    def folder(self, places: Places) -> Path:
        """Return where this cache keeps, or would keep, the programs."""
        return places.home / f"{self.cached_as}-{self.version}-{self._inputs_digest()[:12]}"

    def build_command(self, target: str) -> list[str]:
        """Return the compiler's command line."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        values = {
            "gitVersion": self.version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
        }
        # Without its version an API server calls itself 0.0 and clients refuse it as too old.
        stamps = [f"-X {package}.{key}={value}" for package in self.stamped for key, value in values.items()]
        options = [
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            # Nobody debugs them, and what describes them to a debugger takes a tenth of the compiler's time.
            # Inlining takes a quarter of it, which the programs of one node never earn back.
            "-gcflags=all=-dwarf=false -l",
            "-ldflags",
            " ".join(["-s", "-w", *stamps]),
        ]
        return ["nice", "-n", "19", "go", "build", *options, "-o", target, *self.packages]

    def _inputs_digest(self) -> str:
        """Hash everything that decides what is compiled: a change of it is never answered from the cache."""
        digest = hashlib.sha256(" ".join(self.build_command("")).encode())
        for path in sorted(self.sources.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(self.sources).as_posix().encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()


KUBERNETES = GoModule(
    sources=GO_MODULE,
    cached_as="programs",
    versioned_by="k8s.io/kubernetes",
    packages=tuple(PROGRAMS.values()),
    stamped=VERSION_PACKAGES,
    contents="Kubernetes, etcd and CoreDNS",
    duration="10 to 18 minutes on two free cores",
)
# A module of its own: neither is compiled anew when the other changes.
NETWORK = GoModule(
    sources=NETWORK_MODULE,
    cached_as="network",
    versioned_by="sigs.k8s.io/kube-network-policies",
    packages=(".",),
    stamped=(),
    contents="kube-network-policies",
    duration="1 to 2 minutes on two free cores",
)


def ensure_programs(places: Places, module: GoModule = KUBERNETES) -> Path:
    """Return the folder with a module's programs, compiling them when the cache has not seen its content.

    The caller holds the cluster's lock: what an earlier build left half done is removed.

    :raises MachineUnfitError: ``cluster-go-missing`` where there is no fit Go to compile them.
    :raises ConfidentialSparkError: ``cluster-build-failed`` with the end of the compiler's output.
    """
    wanted = module.folder(places)
    if wanted.is_dir():
        return wanted
    _require_go(module)
    places.home.mkdir(parents=True, exist_ok=True)
    for killed in places.home.glob(".building-*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=places.home) as building:
        _compile(module, Path(building))
        # Renamed when complete, so that a build that was killed is never taken for a finished one.
        Path(building).rename(wanted)
        Path(building).mkdir()
    return wanted


def require_compiler(places: Places) -> None:
    """Refuse a machine that could not compile what its cache lacks.

    :raises MachineUnfitError: ``cluster-go-missing``.
    """
    for module in (KUBERNETES, NETWORK):
        if not module.folder(places).is_dir():
            _require_go(module)


def _require_go(module: GoModule) -> None:
    wanted = module.pinned(r"(?m)^go (1\.\d+)")
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
            action=f"install Go, {ELSEWHERE}",
        )


def _compile(module: GoModule, target: Path) -> None:
    print(
        f"compiling {module.contents} {module.version}: once per version, {module.duration}",
        file=sys.stderr,
        flush=True,
    )
    started = time.monotonic()
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryFile() as output:
        compiler = subprocess.Popen(
            module.build_command(f"{target}/"),
            cwd=module.sources,
            env=environment,
            stdout=output,
            stderr=output,
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
