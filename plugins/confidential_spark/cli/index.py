"""`confidential-spark index rebuild`: make the index of results anew. Not in the wheel, the verifier."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from confidential_spark.hooks.index.rebuild import Rebuilt

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_DONE = 0
EXIT_REFUSED = 2


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "index",
        help="make the index of published results anew",
        description="Read every published version and write the index that the pages are drawn from. Results "
        "are only read, and pages work without an index; it may be done at any time, while runs publish.",
        epilog="Exit status: 0 done, 2 refused.",
    )
    command.set_defaults(run=_index)
    command.add_argument("action", choices=["rebuild"])
    command.add_argument("--location", metavar="LOCATION", help="of all results (default: the deployment's)")
    command.add_argument(
        "--dag-id", metavar="DAG_ID", action="append", help="only of this DAG; may be repeated"
    )


def _index(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.hooks.index.rebuild import JOB_OF, rebuild_index
    from confidential_spark.settings import get_settings

    try:
        location = options.location or get_settings().results_dir
        for dag_id in options.dag_id or JOB_OF:
            print(line(rebuild_index(location, dag_id)), flush=True)
    except ConfidentialSparkError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_REFUSED
    return EXIT_DONE


def line(rebuilt: Rebuilt) -> str:
    """Return what a rebuilding found, in one line."""
    parts = [
        f"{rebuilt.dag_id:20} {rebuilt.published:5} published",
        f"{len(rebuilt.added)} added or corrected",
        f"{len(rebuilt.dropped)} dropped",
    ]
    if rebuilt.unreadable:
        parts.append(f"unreadable: {', '.join(rebuilt.unreadable)}")
    return ", ".join(parts)
