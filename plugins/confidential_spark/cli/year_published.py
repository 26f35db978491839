"""The option `--published` of `confidential-spark year verify`. Not in the wheel, which only verifies."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from confidential_spark.years.verify import Published


def add_option(command: argparse.ArgumentParser) -> None:
    """Add the option."""
    described = "of the months' results, …/DAG_ID: are they still these?"
    command.add_argument("--published", metavar="LOCATION", help=described)


def months_at(location: str) -> Published:
    """Return what tells which version of a month readers see now.

    :raises ConfidentialSparkError: the location, or its storage, is unusable.
    """
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.core.months import Month
    from confidential_spark.hooks.results.location import store_at
    from confidential_spark.hooks.results.store import month_key

    store = store_at(location)

    def published(month: str) -> tuple[str, str] | None:
        files = store.current(month_key(Month.parse(month)))
        return (files.name, sha256(files.content("evidence.json")).hexdigest()) if files else None

    return published
