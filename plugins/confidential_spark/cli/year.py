"""`confidential-spark year verify`: is a year the sum of its months? The wheel has all but `--published`."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# By name: what is published now is read by a checkout, and the wheel only verifies.
PUBLISHED = "confidential_spark.cli.year_published"


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "year",
        help="check that a year is the sum of its verified months",
        description="Verify each month's evidence below the year's folder, add the months up again, compare. "
        "Each month is judged at the end of its own run, unless --at says when.",
        epilog="Exit status: 0 verified, 1 refused, 2 could not check, 3 stale: a month was published again.",
    )
    command.set_defaults(run=_verify, published=None)
    add = command.add_argument
    add("action", choices=["verify"])
    add("folder", type=Path, metavar="FOLDER", help="of the year, e.g. results/nytaxi_year_local/year=2018")
    add("--policy", type=Path, required=True, help="which evidence is accepted (YAML)")
    add("--jwks", type=Path, metavar="FILE", help="the issuer's signing keys, fetched from <issuer>/certs")
    add("--ledger", type=Path, metavar="FILE", help="approved measurements (default: the policy's)")
    add("--job-file", type=Path, metavar="FILE", help="the job that must have run in each month")
    add("--at", metavar="ISO_TIME", help="judge every month at this time")
    add("--json", action="store_true", help="print the report as JSON")
    if find_spec(PUBLISHED):
        import_module(PUBLISHED).add_option(command)


def _verify(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.cli.main import EXIT, clock, file_sha256, print_verdict, read_file
    from confidential_spark.verification import load_policy
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.years.months import Acceptance
    from confidential_spark.years.verify import verify_year

    accept = Acceptance(
        load_policy(options.policy),
        jwks=read_file(options.jwks, MAX_JWKS_BYTES) if options.jwks else None,
        ledger=options.ledger,
        job_file_sha256=file_sha256(options.job_file),
        at=clock(options.at),
    )
    published = options.published and import_module(PUBLISHED).months_at(options.published)
    read_file(options.folder / "evidence.json", 1)  # where no year is, nothing is refused
    # A year is replaced by switching a link: what follows is all of the version it leads to now.
    report = verify_year(options.folder.resolve(), accept, published)
    text = json.dumps(report.to_dict(), indent=2) if options.json else report.text()
    return print_verdict(text, EXIT[report.outcome])
