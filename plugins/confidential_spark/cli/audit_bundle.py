"""`confidential-spark audit bundle`: make an audit bundle. Not in the wheel, which only verifies them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from confidential_spark.audit.making.bundle import Sources
    from confidential_spark.core.errors import ConfidentialSparkError

    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_NOT_MADE = 2
# What a bundle says of a month of which nothing is published, and a try that the enclave signed was refused.
REFUSED = "try-refused"


def add_action(actions: Actions) -> None:
    """Add the action's grammar."""
    action = actions.add_parser(
        "bundle",
        help="make an audit bundle of a range of months",
        description="Put what is published of a range of months, and all that an outsider needs to verify "
        "it, into one .zip. The same results give the same bytes. What is published is only read.",
        epilog="Then it verifies what it made, by the deployment's policy. Exit status: 0 made and every "
        "month verified, 1 made and not every month verified, 2 not made.",
    )
    action.set_defaults(run=_bundle)
    add = action.add_argument
    add("job", metavar="JOB", help="nytaxi, or another monthly job")
    add("--platform", required=True, choices=["local", "dcsv3", "aks"], help="where its runs were")
    add("--from", dest="first", required=True, metavar="YYYY-MM", help="first month")
    add("--to", dest="last", required=True, metavar="YYYY-MM", help="last month")
    add("--output", type=Path, required=True, metavar="FILE", help="bundle.zip; must not exist")
    add("--location", metavar="LOCATION", help="of all results (default: the deployment's)")
    add(
        "--job-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an older form of the job's program that months of the range were made with; may be repeated",
    )


def _bundle(options: argparse.Namespace) -> int:
    # Imported late: `--help` needs no pydantic.
    from confidential_spark.audit.making.bundle import bundle
    from confidential_spark.core.errors import ConfidentialSparkError

    try:
        pieces = bundle(sources(options), options.first, options.last)
        write(pieces, options.output)
    except FileExistsError:
        print(f"{options.output} exists: name a new file", file=sys.stderr, flush=True)
        return EXIT_NOT_MADE
    except (ConfidentialSparkError, OSError) as error:
        why = files_error(error, options.output) if isinstance(error, OSError) else error
        print(f"NOT MADE · {why}", file=sys.stderr, flush=True)
        return EXIT_NOT_MADE
    return _verify(options.output)


def files_error(error: OSError, output: Path) -> ConfidentialSparkError:
    """Return this project's error for a file that the operating system refuses.

    :param output: shown where it names no file, as for a write.
    """
    from confidential_spark.core.errors import ConfigurationError

    return ConfigurationError(
        "The bundle cannot be made.",
        code="audit-files",
        got=f"{error.strerror or error}: {error.filename or output}",
        expected="readable results and programs, and a folder for the bundle with space for it",
        action="correct the path or its permissions, or free space",
    )


def sources(options: argparse.Namespace) -> Sources:
    """Return what the bundle is made of.

    :raises InputError: ``audit-job-unknown``.
    :raises ConfidentialSparkError: the settings, or the storage of the results, are unusable.
    """
    from confidential_spark.audit.making.bundle import Sources
    from confidential_spark.core.errors import InputError
    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.results.location import result_store
    from confidential_spark.jobs import JOBS
    from confidential_spark.jobs.rollup.rollup import ROLLUPS
    from confidential_spark.settings import get_settings

    monthly = {name: job for name, job in JOBS.items() if job.monthly}
    if options.job not in monthly:
        raise InputError(
            "There is no monthly job of that name.",
            code="audit-job-unknown",
            got=options.job,
            expected=", ".join(monthly),
            action="name one of them",
        )
    settings, platform, job = get_settings(), Platform(options.platform), monthly[options.job]
    location = options.location or settings.results_dir
    store = result_store(location, job.dag_id(platform))
    rollup = ROLLUPS.get(job.name)
    years = result_store(location, rollup.dag_id(platform)) if rollup else None
    return Sources(
        job=job.name,
        platform=str(platform),
        policy=settings.policy_path(platform),
        job_files=[job.file(settings.jobs_dir), *options.job_file],
        published=lambda month: store.current(f"month={month}"),
        years=lambda year: years.current(f"year={year}") if years else None,
        ended=lambda month: REFUSED if store.refused_tries(f"month={month}") else "",
    )


def write(pieces: Iterator[bytes], path: Path) -> None:
    """Write a new file, which is there when it is whole.

    :raises FileExistsError: it exists.
    :raises OSError: it cannot be written.
    """
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        # A link is refused where somebody else's file has taken the name meanwhile.
        path.hardlink_to(draft)
    finally:
        with suppress(OSError):
            draft.unlink()


def _verify(path: Path) -> int:
    from confidential_spark.cli.main import main

    return main(["audit", "verify", str(path), "--trust-bundle"])
