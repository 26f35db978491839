"""`confidential-spark housekeeping`: what is kept no longer. Not in the wheel, which is the verifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from confidential_spark.hooks.housekeeping.stale import Stale

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_DONE = 0
EXIT_REFUSED = 2
KINDS = ("results", "cache", "logs")


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "housekeeping",
        help="say, or remove, what is kept no longer",
        description="Say what is older than it is kept, and what removing it would free; docs/results.md has "
        "the table. Nothing is removed without --remove.",
        epilog="Exit status: 0 done, 2 refused.",
    )
    command.set_defaults(run=_housekeeping)
    command.add_argument("--remove", action="store_true", help="remove it")
    command.add_argument("--paths", action="store_true", help="print each path")
    command.add_argument(
        "--logs", type=Path, metavar="DIR", help="Airflow's logs (default: var/airflow/logs)"
    )


def _housekeeping(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.hooks.housekeeping.stale import Kept, Places, find_stale, remove_stale
    from confidential_spark.settings import PROJECT_DIR, get_settings

    try:
        settings = get_settings()
    except ConfidentialSparkError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_REFUSED
    kept = Kept.of(settings)
    places = Places.of(settings, options.logs or PROJECT_DIR / "var" / "airflow" / "logs")
    stale = remove_stale(places, kept) if options.remove else find_stale(places, kept)
    print("\n".join(_lines(stale, removed=options.remove, with_paths=options.paths)), flush=True)
    return EXIT_DONE


def _lines(stale: list[Stale], *, removed: bool, with_paths: bool) -> list[str]:
    lines = [f"{each.why:8} {each.bytes:>15,} bytes  {each.path}" for each in stale] if with_paths else []
    for kind in KINDS:
        sizes = [each.bytes for each in stale if each.why == kind]
        lines.append(f"{kind:8} {sum(sizes):>15,} bytes  {len(sizes)} older than they are kept")
    done = "Removed" if removed else "Would remove (--remove does)"
    return [*lines, f"{done}: {len(stale)}, {sum(each.bytes for each in stale):,} bytes"]
