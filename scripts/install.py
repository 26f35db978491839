"""Install the project into `.venv`; run by make with any Python, before anything else exists.

Standard library only, and runs again only when the lock files have changed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = "uv==0.13.9"
OLDEST_PYTHON = (3, 11)


def main() -> int:
    """Install what is missing; exit 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    dev = parser.parse_args().dev
    if sys.version_info < OLDEST_PYTHON and not PYTHON.exists():
        return refuse(
            f"Python {sys.version.split()[0]} is too old: this project needs "
            f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer. Run `make PYTHON=/path/to/python3.11 …`."
        )
    (ROOT / "var").mkdir(exist_ok=True)
    with (ROOT / "var" / "install.lock").open("w") as lock:
        # A second `make` waits here instead of writing into the same environment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return install(["requirements.txt", "requirements-dev.txt"] if dev else ["requirements.txt"])


def install(requirements: list[str]) -> int:
    """Install the locked requirements and the project itself, once per content of the lock files."""
    if PYTHON.exists() and is_installed(requirements):
        return 0
    say(f"Installing {' and '.join(requirements)} into .venv (about a minute the first time) …")
    if not PYTHON.exists() and run([sys.executable, "-m", "venv", str(VENV)]) != 0:
        return refuse("Could not make a virtual environment. On Debian: apt-get install python3-venv.")
    if run([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", UV]) != 0:
        return refuse("pip could not install uv. Is the package index reachable?")
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "-q", "--python", str(PYTHON)]
    locked = [part for name in requirements for part in ("-r", str(ROOT / name))]
    # Compiled once here: where bytecode is not written, every Airflow start costs four seconds more.
    if (
        run([*uv, "--compile-bytecode", "--require-hashes", *locked]) != 0
        or run([*uv, "--no-deps", "-e", str(ROOT)]) != 0
    ):
        return refuse("The packages could not be installed; the lines above say which and why.")
    for name in requirements:
        stamp(name).write_text(fingerprint(name))
    return 0


def stamp(requirements: str) -> Path:
    """Return the file that remembers which content of a lock file was installed."""
    return VENV / f".installed-{requirements}"


def is_installed(requirements: list[str]) -> bool:
    """Say whether the present content of every lock file has been installed."""
    return all(stamp(name).exists() and stamp(name).read_text() == fingerprint(name) for name in requirements)


def fingerprint(requirements: str) -> str:
    """Return a digest of everything an installation depends on."""
    content = b"".join((ROOT / name).read_bytes() for name in (requirements, "pyproject.toml"))
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def run(command: list[str]) -> int:
    """Run a command with its output shown."""
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def say(message: str) -> None:
    """Print at once, also when make buffers."""
    print(message, flush=True)


def refuse(message: str) -> int:
    """Print why it cannot go on."""
    print(f"ERROR: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(refuse("Interrupted; run it again to go on.")) from None
    except PermissionError as error:
        raise SystemExit(
            refuse(f"No permission to write {error.filename}; use a folder of your own.")
        ) from None
