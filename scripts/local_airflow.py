"""One Airflow on this machine: environment, database, settings; run as a program, its command line."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError

from scripts.process_tree import end_with_make, show_any_text

if TYPE_CHECKING:
    from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
VAR = ROOT / "var"
SETTINGS_FILE = ROOT / "airflow_settings.yaml"
FERNET_KEY = "AIRFLOW__CORE__FERNET_KEY"
PASSWORDS = "simple_auth_manager_passwords.json.generated"
# SQLite gives its other files the rights of the first one.
PRIVATE_FILES = ("airflow.db", PASSWORDS)
LEAST_FREE_BYTES = 16 * 2**20
FULL_DISK = re.compile("disk is full|No space left on device", re.IGNORECASE)


def environment(home: Path, port: int = 8080) -> dict[str, str]:
    """Return the process environment of an Airflow whose state is in ``home``.

    Values of the caller's own `AIRFLOW__…` variables win, except the folders and the home.
    """
    tuned = {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        # Each look at the database takes 20 ms of a core, and each task of a run waits for one.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # A DAG file that has changed is read at once in any case; reading all of them twice a minute, each
        # in a new process, is most of what an idle DAG processor does.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__API__HOST": "127.0.0.1",
        # On the loopback, for its one user.
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Longer than SQLite waits for its write lock (airflow_local_settings.py): a request that was given up
        # and is carried out all the same is refused when it is sent again.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "90",
        # A task outlives a restart of the API server, which takes half a minute on a busy machine.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "15",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "10",
    }
    fixed = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        # Logs and files are UTF-8, whatever the terminal shows.
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    return {**tuned, **os.environ, **fixed}


def open_lock(home: Path, name: str) -> TextIO:
    """Open a lock file in Airflow's folder, which is made if it is not there.

    Nobody else may read what it holds: the database, its keys, and a password.

    :raises ConfigurationError: ``disk-full`` or ``home-not-writable``.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in PRIVATE_FILES:
            make_private(home / path)
        lock = (home / name).open("a+")
    except OSError as error:
        raise not_writable(home, error) from error
    if is_full(home):
        raise disk_full(home)
    return lock


def make_private(path: Path) -> None:
    """Let nobody else read a file, which is made if it is not there."""
    path.touch(mode=0o600)
    path.chmod(0o600)


def is_full(home: Path) -> bool:
    """Say whether the disk has too little room for Airflow to work."""
    return shutil.disk_usage(home).free < LEAST_FREE_BYTES


def not_writable(home: Path, error: OSError) -> ConfigurationError:
    """Return the error of a file that could not be written; anything else is raised as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(home)
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR):
        raise error
    return ConfigurationError(
        "Airflow's folder cannot be written.",
        code="home-not-writable",
        got=f"{error.filename or home}: {error.strerror}",
        expected="a folder of your own",
        action="work in a checkout of your own, on a file system that is not read-only",
    )


def disk_full(home: Path) -> ConfigurationError:
    """Return the error of a disk on which Airflow cannot work."""
    return ConfigurationError(
        "The disk is full.",
        code="disk-full",
        got=f"{shutil.disk_usage(home).free / 2**20:.1f} MiB free for {home}",
        expected=f"{LEAST_FREE_BYTES // 2**20} MiB or more",
        action="free some space",
    )


def prepare(home: Path) -> None:
    """Migrate the database and load `airflow_settings.yaml`, once per content.

    :raises ConfigurationError: ``fernet-key-missing``, ``disk-full``.
    :raises SystemExit: when Airflow refuses; its own words are printed.
    """
    require_fernet_key(home)
    stamp = home / ".prepared"
    wanted = preparation_fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Preparing Airflow's database and settings (once) …", flush=True)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = home / "prepare.log"
    with log.open("w") as output:
        for module in (["airflow", "db", "migrate"], ["scripts.load_settings", str(SETTINGS_FILE)]):
            command = [sys.executable, "-m", *module]
            done = subprocess.run(
                command, cwd=ROOT, env=environment(home), stdout=output, stderr=output, check=False
            )
            if done.returncode:
                raise not_prepared(home, " ".join(module), log)
    stamp.write_text(wanted)


def not_prepared(home: Path, command: str, log: Path) -> ConfigurationError | SystemExit:
    """Return why a command of the preparation failed: its own words, unless the disk is full."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if FULL_DISK.search(text) or is_full(home):
        return disk_full(home)
    print(text[-4000:], file=sys.stderr)
    return SystemExit(f"ERROR: `{command}` failed; the whole log is {log}")


def require_fernet_key(home: Path) -> None:
    """Refuse to go on without the key with which secrets in the database are encrypted.

    Airflow would write them in plain text, or could not read those that are there.

    :raises ConfigurationError: ``fernet-key-missing``.
    """
    variables = [value for name, value in os.environ.items() if name.startswith(FERNET_KEY)]
    config = home / "airflow.cfg"
    if variables:
        there, where = any(variables), f"variable {FERNET_KEY}"
    elif config.exists():
        parser = RawConfigParser(strict=False)
        parser.read(config, encoding="utf-8")
        there, where = bool(parser.get("core", "fernet_key", fallback="")), str(config)
    else:
        database = home / "airflow.db"
        there, where = not (database.exists() and database.stat().st_size), str(config)
    if not there:
        raise ConfigurationError(
            "The Fernet key is missing.",
            code="fernet-key-missing",
            got=f"none in {where}",
            expected="the key with which the connections in the database are encrypted",
            action=f"restore it; without it, remove {home} and enter your connections again",
        )


def preparation_fingerprint() -> str:
    """Return a digest of what the prepared database depends on."""
    lock = (ROOT / "requirements.txt").read_bytes()
    return hashlib.sha256(lock + SETTINGS_FILE.read_bytes()).hexdigest()


def main() -> int:
    """Become Airflow's command line, in the environment of `make run` and `make ui`."""
    home = VAR / "airflow"
    show_any_text()
    try:
        end_with_make()
        open_lock(home, "cli.lock").close()
        prepare(home)
    except ConfigurationError as error:
        print(f"REFUSED  {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    airflow = Path(sys.executable).parent / "airflow"
    os.execve(airflow, [str(airflow), *sys.argv[1:]], environment(home))  # noqa: S606 - on purpose


if __name__ == "__main__":
    raise SystemExit(main())
