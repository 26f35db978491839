"""Files of a version of the trips as they may come: in any order, case and type, and with foreign columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from hypothesis import strategies as st

if TYPE_CHECKING:
    from typing import BinaryIO

    from confidential_spark.jobs.input.contract import SchemaVersion

Columns = list[tuple[str, pa.DataType]]

STORED = {
    **{"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "smallint": pa.int16()},
    **{"tinyint": pa.int8(), "double": pa.float64(), "float": pa.float32(), "decimal": pa.decimal128(9, 2)},
    **{"timestamp": pa.timestamp("us", "UTC"), "timestamp_ntz": pa.timestamp("ns")},
}
FOREIGN = [pa.bool_(), pa.date32(), pa.binary(), pa.uint64(), pa.null(), pa.list_(pa.int8())]
ANY_TYPE = [*STORED.values(), *FOREIGN]
MARKS = [mark for version in TRIPS.versions for mark in version.one_of]
DECLARED = {name.casefold() for version in TRIPS.versions for name in (*version.sources, *version.one_of)}
SPELLINGS = [str, str.lower, str.upper, str.title, str.swapcase]


def write_columns(target: str | BinaryIO, columns: Columns) -> None:
    """Write a file of these columns, without a row."""
    arrays = [pa.array([], kind) for _, kind in columns]
    pq.write_table(pa.Table.from_arrays(arrays, [name for name, _ in columns]), target)


def strangers() -> st.SearchStrategy[Columns]:
    """Columns that no version has, whatever their names and types."""
    names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
    like_ours = st.builds("{}{}".format, st.sampled_from(sorted(DECLARED)), st.sampled_from("_ .2s"))
    strange = (names | like_ours).filter(lambda name: name.casefold() not in DECLARED)
    return st.lists(st.tuples(strange, st.sampled_from(ANY_TYPE)), max_size=4, unique_by=lambda each: each[0])


@st.composite
def files_of(draw: st.DrawFn, version: SchemaVersion) -> Columns:
    """Draw the columns of a file of a version."""
    spell = draw(st.sampled_from(SPELLINGS))
    columns = [(spell(name), STORED[draw(st.sampled_from(types))]) for name, types in version.sources.items()]
    marks = [(spell(mark), draw(st.sampled_from(ANY_TYPE))) for mark in version.one_of]
    return draw(st.permutations([*columns, *marks, *draw(strangers())]))
