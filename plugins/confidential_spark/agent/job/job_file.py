"""A job file's two commands, `query` and `finish`: Python before Spark and after it, never beside it."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job.process import Command, common_variables, ended_by
from confidential_spark.agent.launch.json_input import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_REQUEST_BYTES = 1024 * 1024
QUERY_TIMEOUT_SECONDS = 300.0
# The host's Python may need them; an enclave gets neither.
INHERITED = ("PYTHONHOME", "LD_LIBRARY_PATH")
BESIDE_SPARK = frozenset({"pyspark", "py4j"})
HOW_TO_PORT = "write the job as SQL with the commands query and finish: docs/add-a-job.md"


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """A job as the launch names it.

    :param arguments: the job's own, as the evidence states them.
    :param work_dir: scratch space.
    """

    name: str
    path: Path
    arguments: Sequence[str]
    python: str
    work_dir: Path
    in_occlum: bool

    def query(self, say: Callable[[str], None]) -> bytes:
        """Return the request that the job's `query` command prints; the runner reads it in full.

        :raises AgentError: ``job-form-unsupported``, ``job-query-failed``, ``job-refused-arguments`` or
            ``request-invalid``.
        """
        require_supported_form(self.path)
        exit_code, printed = self._command("query").output(
            say, limit=MAX_REQUEST_BYTES + 1, timeout=QUERY_TIMEOUT_SECONDS
        )
        if len(printed) > MAX_REQUEST_BYTES:
            _no_request("more bytes", f"at most {MAX_REQUEST_BYTES} bytes")
        if exit_code != 0:
            raise _failed("query", exit_code)
        self._require_own(printed)
        return printed

    def finish(self, rows: Path, output: Path, say: Callable[[str], None]) -> None:
        """Let the job make its results of Spark's rows.

        :raises AgentError: ``job-finish-failed`` or ``input-unusable``.
        """
        exit_code = self._command("finish", "--rows", str(rows), "--output", str(output)).follow(say)
        if exit_code != 0:
            raise _failed("finish", exit_code)

    def _command(self, name: str, *more: str) -> Command:
        # From the script's folder and from the user's, nothing is imported.
        argv = [self.python, "-s", "-P", str(self.path), name, *self.arguments, *more]
        return Command(name="python", argv=argv, environment=self._environment(), in_occlum=self.in_occlum)

    def _environment(self) -> dict[str, str]:
        variables = common_variables(self.work_dir)
        variables |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        if self.in_occlum:
            # The image has Python as one tree, which is linked to from elsewhere.
            return variables | {"PYTHONHOME": str(Path(self.python).resolve().parents[1])}
        return variables | {name: os.environ[name] for name in INHERITED if name in os.environ}

    def _require_own(self, printed: bytes) -> None:
        try:
            job = parse_object(printed).get("job")
        except ValueError as error:
            _no_request(str(error) if printed else "nothing", "one JSON object")
        if job != self.name:
            _no_request(f"job {job!r}", f"job {self.name!r}")


def require_supported_form(path: Path) -> None:
    """Refuse a job that would run beside Spark: between the two, the host can listen and speak.

    :raises AgentError: ``job-form-unsupported``, or ``job-unreadable``.
    """
    try:
        found = sorted(imported_packages(path.read_bytes()) & BESIDE_SPARK)
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise AgentError(
            "The job file is no readable Python.",
            code="job-unreadable",
            got=f"{type(error).__name__}: {error}",
            expected="a Python program",
            action="correct the job file",
        ) from error
    if found:
        raise AgentError(
            "The job file is a PySpark program.",
            code="job-form-unsupported",
            got=f"import of {', '.join(found)}",
            expected="a job that prints its SQL and reads Spark's rows",
            action=HOW_TO_PORT,
        )


def imported_packages(source: bytes) -> set[str]:
    """Return the top-level packages that a program names in its imports, wherever they stand.

    :raises SyntaxError, ValueError: it is no Python.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _no_request(got: str, expected: str) -> NoReturn:
    raise AgentError(
        "The job's query command printed no usable request.",
        code="request-invalid",
        got=got,
        expected=expected,
        action="run `confidential-spark explain` on the job; docs/add-a-job.md describes the request",
    )


def _failed(command: str, exit_code: int) -> AgentError:
    if exit_code == ExitCode.BAD_LAUNCH:
        return AgentError(
            "The job refused its arguments; its own message is above.",
            code="job-refused-arguments",
            action="correct the run's parameters",
        )
    if exit_code == ExitCode.INPUT_UNUSABLE:
        return AgentError(
            "The job refused its input; its own message is above.",
            exit_code=ExitCode.INPUT_UNUSABLE,
            code="input-unusable",
            action="correct the input",
        )
    return AgentError(
        f"The job's {command} command failed.",
        exit_code=ExitCode.SPARK_FAILED,
        code=f"job-{command}-failed",
        got=ended_by(exit_code),
        expected="exit code 0",
        action="read the job's own messages above",
    )
