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


@dataclass(frozen=True)
class InputContract:
    """The columns that every file of a month must have; further ones are allowed and never read.

    :param title: what such a file is, for messages, e.g. ``a yellow-taxi file``.
    :param columns: name → kind.
    :param synthetic: makes the rows of given numbers for runs without input, always the same. None where the
        yellow-taxi table has the columns: :mod:`confidential_spark.simulation.trips` makes such trips.
    """

    title: str
    columns: Mapping[str, Kind]
    synthetic: Callable[[Month, range], pa.Table] | None = None


def carries_synthetic_mark(metadata: pq.FileMetaData) -> bool:
    """Return whether a Parquet footer says that its rows were made up."""
    return SYNTHETIC_KEY in (metadata.metadata or {})
