"""`confidential-spark results get`: copy a published version. Not in the wheel, which only verifies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_COPIED = 0
MAX_FILE_BYTES = 1024 * 1024 * 1024
EXIT_REFUSED = 2


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "results",
        help="copy a published month or run to a folder",
        description="Copy the version that is published now, from a folder or Azure Blob Storage.",
        epilog="Exit status: 0 copied, 2 refused.",
    )
    command.set_defaults(run=_get)
    command.add_argument("action", choices=["get"])
    command.add_argument(
        "location", metavar="LOCATION", help="of one DAG's results: folder or address, …/DAG_ID"
    )
    command.add_argument("key", metavar="KEY", help="e.g. month=2018-05")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="made by this command; must not exist")


def _get(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.hooks.results.location import store_at

    try:
        version = store_at(options.location).published(options.key)
        version.copy_to(options.folder, MAX_FILE_BYTES)
    except FileExistsError:
        print(f"{options.folder} exists: name a new folder", file=sys.stderr, flush=True)
        return EXIT_REFUSED
    except (ConfidentialSparkError, OSError, ValueError) as error:
        print(f"{options.location}: {error}", file=sys.stderr, flush=True)
        return EXIT_REFUSED
    print(f"{options.key} is in {options.folder}; verify {options.folder / 'evidence.json'}", flush=True)
    return EXIT_COPIED
