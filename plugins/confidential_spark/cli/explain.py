"""`confidential-spark explain`: what a job asks of Spark. Not in the wheel, which is the verifier alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_EXPLAINED = 0
EXIT_REFUSED = 2


def add_command(commands: Commands) -> None:
    """Add the command's grammar; arguments that it does not know are the job's own."""
    command = commands.add_parser(
        "explain",
        usage="%(prog)s [-h] [--json] JOB [ARGUMENT ...]",
        help="print what a job asks of Spark",
        description="Print what a job asks of Spark: SQL, parameters, input. Nothing is computed.",
        epilog="The job's own arguments follow, e.g. --month 2018-05. Exit status: 0 printed, 2 refused.",
        allow_abbrev=False,
    )
    command.set_defaults(run=_explain, more=[])
    command.add_argument("job", metavar="JOB", help="nytaxi, or another file of include/jobs without .py")
    command.add_argument("--json", action="store_true", help="print the request that the enclave gets")


def _explain(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.agent.errors import AgentError
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.jobs.explain import explain
    from confidential_spark.settings import get_settings

    try:
        jobs_dir = get_settings().jobs_dir
        text = explain(jobs_dir, options.job, options.more, as_json=options.json, say=_complain)
    except (AgentError, ConfidentialSparkError) as error:
        _complain(str(error))
        return EXIT_REFUSED
    print(text, flush=True)
    return EXIT_EXPLAINED


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
