"""What a job's monthly input must look like, and the mark that says it was made up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    import pyarrow.parquet as pq

    from confidential_spark.core.months import Month

SYNTHETIC_KEY = b"confidential_spark.synthetic"
SYNTHETIC_NOTICE = "SYNTHETIC – made by confidential-spark, not TLC data"


class Kind(StrEnum):
    """A column's type as a contract states it; each admits the Parquet types Spark reads as such."""

    STRING = "string"
    TIMESTAMP = "timestamp"
    INTEGER = "int32"
    DOUBLE = "double"


TYPES_OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    Kind.STRING: ("string",),
    Kind.TIMESTAMP: ("timestamp", "timestamp_ntz"),
    Kind.INTEGER: ("int",),
    Kind.DOUBLE: ("double",),
}


@dataclass(frozen=True)
class Column:
    """Where the files of a version have a column.

    :param source: its name there, found in any case; None where the version does not have it.
    :param types: those that it may have, as Spark names them; ``decimal`` stands for every precision.
    """

    source: str | None
    types: tuple[str, ...]


@dataclass(frozen=True)
class SchemaVersion:
    """One layout that a job's table is published in.

    :param columns: the job's name of each column that it reads → where it is.
    :param one_of: columns that tell the version from others of the same columns: its files have at least one.
    """

    name: str
    columns: Mapping[str, Column]
    one_of: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """The columns that the files must have, with their types."""
        return {column.source: column.types for column in self.columns.values() if column.source}


@dataclass(frozen=True)
class InputContract:
    """The columns that every file of a month must have; further ones are allowed and never read.

    :param title: what such a file is, for messages, e.g. ``a yellow-taxi file``.
    :param columns: name → kind; of a table of several versions, the one that synthetic months have.
    :param synthetic: makes the rows of given numbers for runs without input, always the same. None where the
        yellow-taxi table has the columns: :mod:`confidential_spark.simulation.trips` makes such trips.
    :param versions: the layouts of a table that has several; the first that fits a month's files is theirs.
    """

    title: str
    columns: Mapping[str, Kind]
    synthetic: Callable[[Month, range], pa.Table] | None = None
    versions: tuple[SchemaVersion, ...] = ()

    @property
    def layouts(self) -> tuple[SchemaVersion, ...]:
        """Its versions, or the only one, which has no name."""
        if self.versions:
            return self.versions
        columns = {name: Column(name, TYPES_OF_KIND[kind]) for name, kind in self.columns.items()}
        return (SchemaVersion("", columns),)


def carries_synthetic_mark(metadata: pq.FileMetaData) -> bool:
    """Return whether a Parquet footer says that its rows were made up."""
    return SYNTHETIC_KEY in (metadata.metadata or {})
