"""A second Docker engine, for what must not be done to the one that others use: kill it, fill its disk."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker.client import DockerClient
from docker.errors import DockerException

if TYPE_CHECKING:
    from collections.abc import Iterator

START_PATIENCE_SECONDS = 60.0
END_PATIENCE_SECONDS = 30.0


class OwnEngine:
    """One engine in a folder of its own, started and ended at will.

    :param folder: short, because a socket's path has at most 107 bytes.
    :param bridge: network interface of its own.
    :param options: more options of `dockerd`.
    """

    def __init__(self, folder: Path, bridge: str, *options: str) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/engine.sock"
        self.pid_file = folder / "engine.pid"
        self._command = [
            *("dockerd", "--host", self.url, "--pidfile", str(self.pid_file)),
            *("--data-root", str(folder / "data"), "--exec-root", str(folder / "run")),
            # With "--bridge none" an engine deletes docker0, which belongs to the other one.
            *("--bridge", bridge, "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> DockerClient:
        """Start the engine and return a client of it, once it answers."""
        self.pid_file.unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_PATIENCE_SECONDS
        while True:
            try:
                return self.client()
            except DockerException:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((self.folder / "engine.log").read_text(errors="replace")[-2000:])
                time.sleep(0.2)

    def client(self) -> DockerClient:
        return DockerClient(base_url=self.url, version="auto", timeout=60)

    def kill(self) -> None:
        """Kill the engine and its containerd as a crash would; its containers live on."""
        containerd = int((self.folder / "run/containerd/containerd.pid").read_text())
        self._end(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(containerd, signal.SIGKILL)
        while Path(f"/proc/{containerd}").exists():
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the engine and its containers."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(END_PATIENCE_SECONDS)


@contextmanager
def own_engine(*options: str, disk: str = "400m") -> Iterator[OwnEngine]:
    """Yield an engine that is not started yet, on a disk of its own in memory.

    :param disk: size of that disk.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("!!! NOT TESTED: only root, with dockerd installed, can start an engine of its own")
    with ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(prefix="own-engine-"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        data = folder / "data"
        data.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", str(data))
        undo.callback(run, "umount", "--lazy", str(data))
        bridge = f"own-{secrets.token_hex(4)}"
        run("ip", "link", "add", bridge, "type", "bridge")
        undo.callback(run, "ip", "link", "delete", bridge)
        engine = OwnEngine(folder, bridge, *options)
        undo.callback(engine.stop)
        undo.callback(remove_containers, engine)
        yield engine


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def remove_containers(engine: OwnEngine) -> None:
    """Remove every container; an engine that was killed is started again for that."""
    try:
        client = engine.client()
    except DockerException:
        if not engine.pid_file.exists():
            return
        client = engine.start()
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    client.close()


def copy_image(image: str, source: DockerClient, target: DockerClient) -> str:
    """Copy an image from one engine to another and return its id."""
    return str(target.images.load(source.images.get(image).save(chunk_size=None))[0].id)
