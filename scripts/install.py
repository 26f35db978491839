"""Install the project into `.venv`; run by make with any Python, before anything else exists.

Standard library only, and runs again only when the lock files have changed. An environment without a stamp is
one whose installation was interrupted: it is made anew, because nothing tells which of its files are whole.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = "uv==0.13.9"
OLDEST_PYTHON = (3, 11)
STAMP = ".installed-"
STARTED_BY = os.getppid()
PARENT_CHECK_SECONDS = 0.5


def main() -> int:
    """Install what is missing; exit 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    dev = parser.parse_args().dev
    requirements = ["requirements.txt", "requirements-dev.txt"] if dev else ["requirements.txt"]
    # Before the lock is opened: an environment that is complete may be on a file system that is read-only.
    if is_installed(requirements):
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, interrupt)
    with only_one_installation() as lock:
        return 0 if is_installed(requirements) else install(requirements, lock)


@contextmanager
def only_one_installation() -> Iterator[int]:
    """Wait for every other `make` that installs, and yield the lock's descriptor.

    Child processes inherit it: when this program is killed and they are not, the next `make` waits for them.
    """
    (ROOT / "var").mkdir(exist_ok=True)
    with (ROOT / "var" / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another `make` that is installing …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def install(requirements: list[str], lock: int) -> int:
    """Install the locked requirements and the project itself, once per content of the lock files."""
    if not is_whole() and (problem := make_environment(lock)):
        return refuse(problem)
    say(f"Installing {' and '.join(requirements)} into .venv (about a minute the first time) …")
    stamps = {path: path.read_text() for path in VENV.glob(f"{STAMP}*")}
    before = change_times()
    # From here on until the end the environment is half-made.
    for path in stamps:
        path.unlink()
    if problem := install_packages(requirements, lock):
        if change_times() == before:
            # Nothing was installed or removed, so what was whole still is: offline, `make run` goes on.
            for path, content in stamps.items():
                path.write_text(content)
        return refuse(problem)
    for name in requirements:
        (VENV / f"{STAMP}{name}").write_text(fingerprint(name))
    return 0


def make_environment(lock: int) -> str | None:
    """Make the virtual environment in place of what is there, and return why that is impossible, if it is."""
    if sys.version_info < OLDEST_PYTHON:
        return (
            f"Python {sys.version.split()[0]} is too old: this project needs "
            f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer. Run `make PYTHON=/path/to/python3.11 …`."
        )
    if VENV.exists():
        say("An earlier installation did not finish; making .venv anew.")
    # In place and not under another name: the programs in it contain its absolute path.
    if run([sys.executable, "-m", "venv", "--clear", str(VENV)], lock) != 0:
        return "Could not make a virtual environment. On Debian: apt-get install python3-venv."
    return None


def install_packages(requirements: list[str], lock: int) -> str | None:
    """Install the packages, and return what went wrong, if something did."""
    if run([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", UV], lock) != 0:
        return "pip could not install uv. Is the package index reachable?"
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "-q", "--python", str(PYTHON)]
    locked = [part for name in requirements for part in ("-r", str(ROOT / name))]
    projects = [part for path in (ROOT, ROOT / "plugins") for part in ("-e", str(path))]
    # Compiled once here: where bytecode is not written, every Airflow start costs four seconds more.
    if (
        run([*uv, "--compile-bytecode", "--require-hashes", *locked], lock) != 0
        or run([*uv, "--no-deps", *projects], lock) != 0
    ):
        return "The packages could not be installed; the lines above say which and why."
    return None


def is_whole() -> bool:
    """Say whether the last installation into the environment has finished."""
    return PYTHON.exists() and any(VENV.glob(f"{STAMP}*"))


def is_installed(requirements: list[str]) -> bool:
    """Say whether the present content of every lock file has been installed."""
    stamps = {name: VENV / f"{STAMP}{name}" for name in requirements}
    return PYTHON.exists() and all(
        stamp.exists() and stamp.read_text() == fingerprint(name) for name, stamp in stamps.items()
    )


def change_times() -> list[int]:
    """Return when packages were last added to the environment or removed from it."""
    return [folder.stat().st_mtime_ns for folder in sorted(VENV.glob("lib/python*/site-packages"))]


def fingerprint(requirements: str) -> str:
    """Return a digest of everything an installation depends on."""
    names = (requirements, "pyproject.toml", "plugins/pyproject.toml")
    content = b"".join((ROOT / name).read_bytes() for name in names)
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def run(command: list[str], lock: int) -> int:
    """Run a command with its output shown; neither Ctrl-C nor the end of `make` leaves it behind."""
    # A session of its own: Ctrl-C reaches this program only, and no traceback of the command's is shown.
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, pass_fds=[lock])
    try:
        while os.getppid() == STARTED_BY:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(PARENT_CHECK_SECONDS)
        raise KeyboardInterrupt
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def interrupt(number: int, frame: FrameType | None) -> None:
    """Let any signal that ends a program end this one like Ctrl-C."""
    raise KeyboardInterrupt


def say(message: str) -> None:
    """Print at once, also when make buffers."""
    print(message, flush=True)


def refuse(message: str) -> int:
    """Print why it cannot go on."""
    print(f"ERROR: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    # A terminal that knows fewer characters shows question marks.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(refuse("Interrupted; run it again to go on.")) from None
    except OSError as error:
        raise SystemExit(
            refuse(f"Cannot write {error.filename or VENV}: {error.strerror}. Is this checkout your own?")
        ) from None
