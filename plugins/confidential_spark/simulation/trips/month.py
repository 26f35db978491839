"""Deterministic synthetic NYTaxi months with the true schema and quirks, labelled synthetic in every file.

    python -m confidential_spark.simulation.trips.month --month 2018-05 --rows 10000 --output var/inputs

The same month, rows and seed give the same bytes, with the same versions of DuckDB and PyArrow.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.contract import SYNTHETIC_KEY, SYNTHETIC_NOTICE, InputContract, Kind
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from confidential_spark.simulation.trips.model import TripModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MODEL_VERSION = 1
DEFAULT_SEED = 20180501
MAX_ROWS = 100_000_000
ROWS_PER_GROUP = 500_000
ROWS_PER_FILE = 2_000_000

ARROW_TYPES = {
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.INTEGER: pa.int32(),
    Kind.DOUBLE: pa.float64(),
}


@dataclass(frozen=True)
class MonthParameters:
    """Everything a synthetic month follows from; stands in each of its files."""

    month: str
    rows: int
    seed: int
    model_version: int = MODEL_VERSION


def write_month(
    month: Month,
    rows: int,
    directory: Path,
    seed: int = DEFAULT_SEED,
    *,
    contract: InputContract = TRIPS,
) -> Path:
    """Write one synthetic month to ``directory/puYear=Y/puMonth=M/`` and return that folder.

    The folder appears complete or not at all. A complete month of the same parameters is kept as it is, a
    synthetic one of others is replaced.

    :param contract: whose rows are made: its own, or else trips of the yellow-taxi table.
    :raises ConfigurationError: ``synthetic-rows``; ``synthetic-unwritable`` (no space, no permission).
    :raises InputError: ``synthetic-over-real``: the folder holds files that are not synthetic.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise ConfigurationError(
            "A synthetic month cannot have that many rows.",
            code="synthetic-rows",
            got=rows,
            expected=f"1 to {MAX_ROWS}",
            action="choose another number of rows",
        )
    parameters = MonthParameters(str(month), rows, seed)
    target = directory / f"puYear={month.year}" / f"puMonth={month.month}"
    with _writable(target), _lock(target):
        _remove_leftovers(target)
        if not _is_complete(target, parameters):
            _replace(target, parameters, contract)
    return target


@contextmanager
def _writable(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigurationError(
            "The synthetic month could not be written.",
            code="synthetic-unwritable",
            got=f"{error.strerror or error}: {error.filename or target}",
            expected="a writable folder with free space (about 50 bytes per row)",
            action="free space or choose another folder",
        ) from error


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Let one process at a time make this month; the lock ends with its holder, however it dies."""
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers(target: Path) -> None:
    """Remove what a killed writer left; called under the lock, so nobody is writing."""
    for leftover in target.parent.glob(f".{target.name}.partial-*"):
        shutil.rmtree(leftover)


def _is_complete(target: Path, parameters: MonthParameters) -> bool:
    """Return whether ``target`` holds this very month.

    :raises InputError: ``synthetic-over-real``.
    """
    if not target.exists():
        return False
    marks = [_mark(file) for file in sorted(target.iterdir())]
    if not all(marks):
        raise InputError(
            "That folder holds data that is not synthetic; it is not overwritten.",
            code="synthetic-over-real",
            got=target,
            expected="an absent folder or a synthetic month",
            action="choose another output folder",
        )
    return marks == [{**asdict(parameters), "part": n} for n in range(len(_parts(parameters.rows)))]


def _mark(file: Path) -> dict[str, Any] | None:
    """Return the parameters in a file's footer, None where it is not a synthetic file."""
    try:
        mark = (pq.read_metadata(file).metadata or {}).get(SYNTHETIC_KEY)
    except (pa.ArrowException, OSError):
        return None
    return None if mark is None else dict(json.loads(mark)["parameters"])


def _replace(target: Path, parameters: MonthParameters, contract: InputContract) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    try:
        _write_files(partial, parameters, contract)
        partial.chmod(0o755)
        if target.exists():
            # Two renames: between them the month is absent, never half there.
            target.rename(target.with_name(f"{partial.name}-old"))
        partial.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(target.with_name(f"{partial.name}-old"), ignore_errors=True)


def _parts(rows: int) -> list[range]:
    """Return the row numbers of each file."""
    return [range(first, min(first + ROWS_PER_FILE, rows)) for first in range(0, rows, ROWS_PER_FILE)]


def _write_files(folder: Path, parameters: MonthParameters, contract: InputContract) -> None:
    with _rows(parameters, contract) as rows:
        for number, numbers in enumerate(_parts(parameters.rows)):
            file = folder / f"part-{number:05d}.c000.snappy.parquet"
            columns = contract.columns if contract.synthetic else TRIPS.columns
            _write_file(file, _part_mark(parameters, number), columns, rows, numbers)
            _sync(file)
    _sync(folder)


@contextmanager
def _rows(parameters: MonthParameters, contract: InputContract) -> Iterator[Callable[[range], pa.Table]]:
    """Yield what makes the rows of given numbers."""
    month = Month.parse(parameters.month)
    if contract.synthetic:
        yield partial(contract.synthetic, month)
        return
    with closing(TripModel(month, parameters.rows, parameters.seed)) as model:
        yield lambda numbers: model.chunk(numbers.start, numbers.stop)


def _write_file(
    file: Path,
    mark: dict[bytes, bytes],
    columns: Mapping[str, Kind],
    rows: Callable[[range], pa.Table],
    numbers: range,
) -> None:
    """Write one file, a row group at a time, as Spark 2 wrote the real ones: snappy, INT96 timestamps."""
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(
        file, schema, compression="snappy", use_deprecated_int96_timestamps=True, store_schema=False
    ) as writer:
        writer.add_key_value_metadata(mark)
        for first in numbers[::ROWS_PER_GROUP]:
            group = rows(range(first, min(first + ROWS_PER_GROUP, numbers.stop)))
            writer.write_table(group.select(schema.names).cast(schema), row_group_size=ROWS_PER_GROUP)


def _part_mark(parameters: MonthParameters, part: int) -> dict[bytes, bytes]:
    mark = {"notice": SYNTHETIC_NOTICE, "parameters": {**asdict(parameters), "part": part}}
    return {SYNTHETIC_KEY: json.dumps(mark, sort_keys=True, ensure_ascii=False).encode()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: list[str] | None = None) -> int:
    """Write one month as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="trips", description="Write a synthetic NYTaxi month.")
    parser.add_argument("--month", required=True, help="YYYY-MM, from 2009-01 on")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the month (default: 10000)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="another seed makes another month")
    parser.add_argument("--output", type=Path, required=True, help="folder of the puYear= folders")
    options = parser.parse_args(arguments)
    try:
        folder = write_month(Month.parse(options.month), options.rows, options.output, options.seed)
    except ConfidentialSparkError as error:
        print(error.diagnostics(), file=sys.stderr)
        return 1
    print(f"{SYNTHETIC_NOTICE}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
