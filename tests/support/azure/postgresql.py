"""PostgreSQL for one test: Debian's, installed where it is absent, in a folder of its own.

`python -m tests.support.azure.postgresql` installs it; exit code 3 means that it could not be had.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from tests.integration.live_airflow import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "postgresql"
USER = "postgres"
START_PATIENCE_SECONDS = 60.0
NO_POSTGRESQL = 3


class NoPostgresqlError(Exception):
    """PostgreSQL cannot be had on this machine; the text says why."""


def main() -> int:
    """Install it, and return an exit code."""
    try:
        programs()
    except NoPostgresqlError as error:
        print(f"!!! NOT TESTED: no PostgreSQL: {error}", file=sys.stderr)
        return NO_POSTGRESQL
    return 0


def programs() -> Path:
    """Return the folder of the server's programs, which are installed from Debian where this user may.

    :raises NoPostgresqlError: they are not there and cannot be installed.
    """
    if not _installed() and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {PACKAGE} …", file=sys.stderr, flush=True)
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", PACKAGE]):
            subprocess.run(["apt-get", *command], check=False, stdout=subprocess.DEVNULL)
    if not (found := _installed()):
        raise NoPostgresqlError("initdb is not installed, and only root can install Debian's package")
    return found[-1].parent


def _installed() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the address of an empty database on the loopback, and end its server.

    :raises NoPostgresqlError: it is not there.
    :raises RuntimeError: it does not start.
    """
    bin_folder, port, password = programs(), free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        as_user = _own(folder)
        data = str(folder / "data")
        encoding = ("-E", "UTF8", "--locale", "C.UTF-8")
        login = ("-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password"))
        made = subprocess.run(
            [bin_folder / "initdb", "-D", data, *login, *encoding, "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            **as_user,
        )
        if made.returncode:
            raise RuntimeError(f"initdb: {made.stderr[-500:]}")
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        settings = [part for option in options.items() for part in ("-c", "{}={}".format(*option))]
        process = subprocess.Popen(
            [bin_folder / "postgres", "-D", data, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            **as_user,
        )
        try:
            address = f"{USER}:{password}@127.0.0.1:{port}/{USER}"
            _wait(f"postgresql://{address}", process)
            yield address
        finally:
            # An immediate shutdown: nobody needs what is in it.
            process.send_signal(signal.SIGQUIT)
            process.wait()


def _own(folder: Path) -> dict[str, Any]:
    """Return how to start the server's programs: they refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(USER)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while True:
        try:
            psycopg2.connect(address).close()
            return
        except psycopg2.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"postgres does not start: {error}") from error
            time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
