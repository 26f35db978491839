"""A job file's two commands, called from here, with the runner between them."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from tests.support.runner_jvm import RunnerCalls

JOBS = ROOT / "include" / "jobs"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    lines: list[str]
    errors: list[str]

    @property
    def refusal(self) -> str:
        """The code that its one line of errors begins with."""
        (line,) = self.errors
        assert line[0] == "["
        return line[1 : line.index("]")]


def load(name: str) -> ModuleType:
    """Return a job file as a module."""
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def call(job: ModuleType, *arguments: str) -> Ended:
    """Run one command of a job in this process."""
    with redirect_stdout(StringIO()) as lines, redirect_stderr(StringIO()) as errors:
        code = job.main(arguments)
    return Ended(code, lines.getvalue().splitlines(), errors.getvalue().splitlines())


def query(job: ModuleType, *arguments: str) -> dict[str, Any]:
    """Return the request of a job."""
    ended = call(job, "query", *arguments)
    assert (ended.code, ended.errors) == (0, [])
    (line,) = ended.lines
    request: dict[str, Any] = json.loads(line)
    return request


def write_rows(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    duration_ms: int,
    version: str = "tlc-2011",
) -> None:
    """Write the rows of one query, and figures whose input they count."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = {
        "duration_ms": duration_ms,
        "input": {"trips": {"version": version, "rows": sum(row["trips"] for row in rows)}},
    }
    (folder / "figures.json").write_text(json.dumps(figures))


@dataclass(frozen=True)
class JobRuns:
    """Runs one job again and again in a shared JVM.

    :param folder: of this test's own.
    """

    job: ModuleType
    calls: RunnerCalls
    folder: Path

    def run(self, arguments: Sequence[str], input_dir: Path | None = None) -> Path:
        """Return the folder of the results."""
        ended, output = self.end(arguments, input_dir)
        assert (ended.code, ended.errors) == (0, [])
        return output

    def end(self, arguments: Sequence[str], input_dir: Path | None = None) -> tuple[Ended, Path]:
        """Return how `finish` ended, and the folder of the results."""
        output = Path(tempfile.mkdtemp(prefix="output-", dir=self.folder))
        rows = self.rows(arguments, input_dir)
        ended = call(self.job, "finish", *arguments, "--rows", str(rows), "--output", str(output))
        return ended, output

    def rows(self, arguments: Sequence[str], input_dir: Path | None = None) -> Path:
        """Return the folder of Spark's rows."""
        rows = Path(tempfile.mkdtemp(prefix="rows-", dir=self.folder))
        self.calls.run(query(self.job, *arguments), input_dir.as_uri() if input_dir else None, rows)
        return rows
