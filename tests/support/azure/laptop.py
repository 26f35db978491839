"""Azure Storage on a laptop: start Azurite, upload trip records, say what to set; Ctrl-C ends it.

What was stored is there again the next time.
"""

from __future__ import annotations

import argparse
import fcntl
import shlex
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError
from confidential_spark.jobs.input.location import local_folder

from scripts.local_airflow import ROOT, VAR
from scripts.process_tree import take_charge
from scripts.run_choices import absolute
from tests.support.azure.azurite import (
    HOST,
    NO_AZURITE,
    AzuriteFailedError,
    NoAzuriteError,
    azurite,
    install,
    wasb_connection,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from azure.storage.blob import ContainerClient

    from tests.support.azure.azurite import Azurite

PORT = 10000
TRIPS, RESULTS, FOLDER = "trips", "results", "yellow"


def main() -> int:
    """Run until Ctrl-C, TERM, or until Azurite ends."""
    arguments = parse_arguments()
    take_charge()
    try:
        source = source_of(arguments.input)
        install()
        with only_one(arguments.home), azurite(arguments.home, port=free_port(), debug=False) as running:
            serve(running, source)
            print(f"Azurite ended with exit code {running.process.wait()}.", file=sys.stderr)
            return 1
    except NoAzuriteError as error:
        print(f"REFUSED  No Azurite: {error}", file=sys.stderr)
        return NO_AZURITE
    except AzuriteFailedError as error:
        print(f"REFUSED  {error}", file=sys.stderr)
        return 2
    except ConfidentialSparkError as error:
        print(f"REFUSED  {error.diagnostics()}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", default="", help="folder of trip records, or one file; empty: no upload")
    parser.add_argument("--home", type=Path, default=VAR / "storage", help="what is stored")
    return parser.parse_args()


def source_of(text: str) -> Path | None:
    """Return the folder or the file that is to be uploaded.

    :raises ConfigurationError: ``input-missing``, and what is wrong with a ``file://`` address.
    """
    if not text:
        return None
    path = local_folder(absolute(text)[1])
    if path.exists():
        return path
    raise ConfigurationError(
        "The trip records to upload are not there.",
        code="input-missing",
        got=path,
        expected="a folder with Parquet files, or one such file, on this machine",
        action="correct INPUT=…, or leave it out",
    )


def only_one(home: Path) -> TextIO:
    """Open and hold the folder's lock: two emulators would spoil each other's files.

    :raises ConfigurationError: ``storage-in-use``.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "storage.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(
            "Another `make storage` is at work here.",
            code="storage-in-use",
            got=home,
            expected="one emulator per folder",
            action=f"use it: `. {shown(home)}/settings.sh`, or end it first",
        ) from error
    return lock


def free_port() -> int:
    """Return Azurite's usual port, or 0 for any other where that one is taken."""
    with socket.socket() as probe:
        return PORT if probe.connect_ex(("127.0.0.1", PORT)) else 0


def serve(running: Azurite, source: Path | None) -> None:
    """Make the containers, upload the trip records, and say how to use them."""
    service = running.client()
    for name in (TRIPS, RESULTS):
        with suppress(ResourceExistsError):
            service.create_container(name)
    trips = service.get_container_client(TRIPS)
    if source:
        upload(trips, source)
    stored = sum(1 for _ in trips.list_blobs(f"{FOLDER}/"))
    settings = running.folder / "settings.sh"
    settings.write_text("".join(f"export {line}\n" for line in exports(running.endpoint, stored)))
    print(f"\n  Azurite is ready: {running.endpoint}, kept in {shown(running.folder)}")
    print(f"  trip records   {f'{stored} files in {location(TRIPS)}/{FOLDER}' if stored else NOTHING_STORED}")
    print(f"  results        {location(RESULTS)}/spark")
    print(f"\n  In another terminal, in this folder:  . {shown(settings)}")
    print("  then `make run MONTH=2018-05`, or `make ui`. Ctrl-C here ends Azurite.\n", flush=True)


NOTHING_STORED = "none, so months are synthetic; `make storage INPUT=/data/yellow` uploads yours"


def upload(trips: ContainerClient, source: Path) -> None:
    """Upload a folder or a file; what is there in the same size and younger than the file stays."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    root = source.parent if source.is_file() else source
    print(f"Uploading {len(files)} files of {source} …", flush=True)
    for path in files:
        blob = trips.get_blob_client(f"{FOLDER}/{path.relative_to(root).as_posix()}")
        with suppress(ResourceNotFoundError):
            there = blob.get_blob_properties()
            if (there.size, there.last_modified.timestamp() > path.stat().st_mtime) == (
                path.stat().st_size,
                True,
            ):
                continue
        with path.open("rb") as file:
            blob.upload_blob(file, overwrite=True)


def exports(endpoint: str, stored: int) -> Iterable[str]:
    """Return the settings of `make run` and `make ui`, for a shell."""
    values = {
        "CONFIDENTIAL_SPARK_BLOB_EMULATOR": endpoint,
        # The emulator's key is in Microsoft's documentation, and opens nothing else.
        "AIRFLOW_CONN_STORAGE": wasb_connection(endpoint),
        "CONFIDENTIAL_SPARK_BLOB_CONN_ID": "storage",
        "CONFIDENTIAL_SPARK_RESULTS_DIR": f"{location(RESULTS)}/spark",
    }
    if stored:
        values["CONFIDENTIAL_SPARK_INPUT_URI"] = f"{location(TRIPS)}/{FOLDER}"
    return (f"{name}={shlex.quote(value)}" for name, value in values.items())


def location(container: str) -> str:
    """Return a container's address."""
    return f"wasbs://{container}@{HOST}"


def shown(path: Path) -> Path:
    """Return a path as the reader of a terminal here would type it."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    raise SystemExit(main())
