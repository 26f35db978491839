"""One Airflow on this machine: environment, database, settings; run as a program, its command line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VAR = ROOT / "var"
SETTINGS_FILE = ROOT / "airflow_settings.yaml"


def environment(home: Path, port: int = 8080) -> dict[str, str]:
    """Return the process environment of an Airflow whose state is in ``home``.

    Values of the caller's own `AIRFLOW__…` variables win, except the folders and the home.
    """
    tuned = {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
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
    }
    return {**tuned, **os.environ, **fixed}


def prepare(home: Path) -> None:
    """Migrate the database and load `airflow_settings.yaml`, once per content.

    :raises SystemExit: when Airflow refuses; its own words are printed.
    """
    stamp = home / ".prepared"
    wanted = preparation_fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    home.mkdir(parents=True, exist_ok=True)
    print("Preparing Airflow's database and settings (once) …", flush=True)
    log = home / "prepare.log"
    with log.open("w") as output:
        for module in (["airflow", "db", "migrate"], ["scripts.load_settings", str(SETTINGS_FILE)]):
            command = [sys.executable, "-m", *module]
            done = subprocess.run(
                command, cwd=ROOT, env=environment(home), stdout=output, stderr=output, check=False
            )
            if done.returncode:
                print(log.read_text()[-4000:], file=sys.stderr)
                raise SystemExit(f"ERROR: `{' '.join(module)}` failed; the whole log is {log}")
    stamp.write_text(wanted)


def preparation_fingerprint() -> str:
    """Return a digest of what the prepared database depends on."""
    lock = (ROOT / "requirements.txt").read_bytes()
    return hashlib.sha256(lock + SETTINGS_FILE.read_bytes()).hexdigest()


def main() -> None:
    """Become Airflow's command line, in the environment of `make run` and `make ui`."""
    prepare(VAR / "airflow")
    airflow = Path(sys.executable).parent / "airflow"
    os.execve(airflow, [str(airflow), *sys.argv[1:]], environment(VAR / "airflow"))  # noqa: S606 - on purpose


if __name__ == "__main__":
    main()
