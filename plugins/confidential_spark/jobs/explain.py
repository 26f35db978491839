"""What a job asks of Spark, for people to read: the request, asked for as the agent does."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job.job_file import JobFile
from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# A parameter's JSON type is its SQL type.
SQL_TYPES = {str: "STRING", bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}


def explain(
    jobs_dir: Path, name: str, arguments: Sequence[str], *, as_json: bool, say: Callable[[str], None]
) -> str:
    """Return a job's SQL, with the rest of its request as comments, or the request itself.

    :param name: of a file in ``jobs_dir``.
    :param say: gets the job's own messages.
    :raises InputError: ``job-unknown``.
    :raises AgentError: as :meth:`JobFile.query`.
    """
    file = _file(jobs_dir, name)
    with TemporaryDirectory(prefix="explain-") as folder:
        job = JobFile(
            name=name,
            path=file,
            arguments=arguments,
            python=sys.executable,
            work_dir=Path(folder),
            in_occlum=False,
        )
        printed = job.query(say).decode()
    if as_json:
        return printed.strip()
    try:
        return "\n".join(_lines(json.loads(printed), sha256_hex(file.read_bytes())))
    except (LookupError, TypeError, AttributeError) as error:
        raise _no_request(error) from error


def _file(jobs_dir: Path, name: str) -> Path:
    names = sorted(path.stem for path in jobs_dir.glob("*.py"))
    if name not in names:
        raise InputError(
            "There is no job of this name.",
            code="job-unknown",
            got=name,
            expected=", ".join(names) or f"a job file in {jobs_dir}",
            action="name a file of include/jobs without .py; the job's own arguments come after it",
        )
    return jobs_dir / f"{name}.py"


def _lines(request: Mapping[str, Any], digest: str) -> Iterator[str]:
    yield f"-- job {request['job']}, SHA-256 of its file {digest}"
    for table, layout in request.get("input", {}).items():
        yield from _table(table, layout)
    if parameters := request.get("parameters", {}):
        yield "-- parameters"
    for name, value in parameters.items():
        yield f"--   :{name} {SQL_TYPES[type(value)]} {json.dumps(value, ensure_ascii=False)}"
    views = (("view {name}".format_map(view), view) for view in request.get("views", ()))
    queries = (
        ("query {name}, at most {max_rows} rows".format_map(query), query) for query in request["queries"]
    )
    for title, statement in chain(views, queries):
        yield f"\n-- {title}\n{statement['sql'].rstrip()}"


def _table(name: str, layout: Any) -> Iterator[str]:
    """Describe a table by its columns, or by those of each of its versions."""
    if isinstance(layout, dict):
        yield f"-- input {name}"
        for column, kinds in layout.items():
            yield f"--   {column}: {' or '.join(kinds)}"
        return
    for version in layout:
        marks = f", with {' or '.join(version['one_of'])}" if "one_of" in version else ""
        yield f"-- input {name} as {version['name']}{marks}"
        for column, source in version["columns"].items():
            yield f"--   {column}: {source.get('from', 'nothing')}, {' or '.join(source['types'])}"


def _no_request(error: Exception) -> AgentError:
    return AgentError(
        "The job's query command printed no usable request.",
        exit_code=ExitCode.BAD_LAUNCH,
        code="request-invalid",
        got=repr(error),
        expected="the members that docs/add-a-job.md describes",
        action="look at it with --json, and correct the job",
    )
