"""`confidential-spark year verify`: is a year the sum of its months? Not in the wheel: it verifies months."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from confidential_spark.years.months import Acceptance
    from confidential_spark.years.verify import Published

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT = {"verified": 0, "refused": 1, "not-checked": 2, "stale": 3}


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "year",
        help="check that a year is the sum of its verified months",
        description="Verify each month's evidence below the year's folder, add the months up again, compare. "
        "Each month is judged at the end of its own run, unless --at says when.",
        epilog="Exit status: 0 verified, 1 refused, 2 could not check, 3 stale: a month was published again.",
    )
    command.set_defaults(run=_verify)
    add = command.add_argument
    add("action", choices=["verify"])
    add("folder", type=Path, metavar="FOLDER", help="of the year, e.g. results/nytaxi_year_local/year=2018")
    add("--policy", type=Path, required=True, help="which evidence is accepted (YAML)")
    add("--published", metavar="LOCATION", help="of the months' results, …/DAG_ID: are they still these?")
    add("--jwks", type=Path, metavar="FILE", help="the issuer's signing keys, fetched from <issuer>/certs")
    add("--ledger", type=Path, metavar="FILE", help="approved measurements (default: the policy's)")
    add("--job-file", type=Path, metavar="FILE", help="the job that must have run in each month")
    add("--at", metavar="ISO_TIME", help="judge every month at this time")
    add("--json", action="store_true", help="print the report as JSON")


def _verify(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.cli.main import print_verdict
    from confidential_spark.years.verify import verify_year

    published = _published(options.published) if options.published else None
    # A year is replaced by switching a link: what follows is all of the version it leads to now.
    report = verify_year(options.folder.resolve(), _acceptance(options), published)
    text = json.dumps(report.to_dict(), indent=2) if options.json else report.text()
    return print_verdict(text, EXIT[report.outcome])


def _acceptance(options: argparse.Namespace) -> Acceptance:
    from confidential_spark.cli.main import clock, file_sha256, read_file
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.years.months import Acceptance

    return Acceptance.of(
        options.policy,
        jwks=read_file(options.jwks, MAX_JWKS_BYTES) if options.jwks else None,
        ledger=options.ledger,
        job_file_sha256=file_sha256(options.job_file),
        at=clock(options.at),
    )


def _published(location: str) -> Published:
    from confidential_spark.core.months import Month
    from confidential_spark.hooks.results.location import store_at
    from confidential_spark.hooks.results.store import month_key

    store = store_at(location)

    def published(month: str) -> tuple[str, str] | None:
        files = store.current(month_key(Month.parse(month)))
        return (files.name, sha256(files.content("evidence.json")).hexdigest()) if files else None

    return published
