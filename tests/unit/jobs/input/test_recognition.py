"""Which columns matter to the version of a file: those that a job reads, always, and no other."""

from tempfile import TemporaryFile

import pyarrow as pa
import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.input.parquet.footer import read_footer
from confidential_spark.jobs.input.recognition import recognise
from confidential_spark.jobs.nytaxi.trip_schema import TRIPS
from hypothesis import given
from hypothesis import strategies as st

from tests.support.drifting_columns import FOREIGN, MARKS, STORED, files_of, write_columns

VERSIONS = st.sampled_from(TRIPS.versions)


def recognised(columns, contract=TRIPS):
    with TemporaryFile() as file:
        write_columns(file, columns)
        file.flush()
        return recognise([read_footer(file, "a.parquet")], contract).name


def refusal(columns):
    with pytest.raises(InputError) as caught:
        recognised(columns)
    assert caught.value.code == "input-schema"
    return caught.value.got


@given(data=st.data())
def test_columns_that_no_job_reads_never_matter(data):
    version = data.draw(VERSIONS)
    assert recognised(data.draw(files_of(version))) == version.name


@given(data=st.data())
def test_a_column_that_a_job_reads_is_never_missed(data):
    version = data.draw(VERSIONS)
    missing = data.draw(st.sampled_from(sorted(version.sources)))
    columns = data.draw(files_of(version))
    without = [column for column in columns if column[0].casefold() != missing.casefold()]
    assert len(without) == len(columns) - 1
    got = refusal(without)
    assert f"{missing} is missing" in got
    assert "the nearest version" in got


@given(data=st.data())
def test_a_column_of_another_type_is_always_named(data):
    version = data.draw(VERSIONS)
    name = data.draw(st.sampled_from(sorted(version.sources)))
    foreign = data.draw(
        st.sampled_from([kind for own, kind in STORED.items() if own not in version.sources[name]])
        | st.sampled_from(FOREIGN)
    )
    columns = data.draw(files_of(version))
    spelled = next(own for own, _ in columns if own.casefold() == name.casefold())
    got = refusal([(own, foreign if own == spelled else kind) for own, kind in columns])
    assert f"{spelled} is " in got
    assert "instead of" in got


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_alone_is_no_version(mark):
    assert "is missing" in refusal([(mark, pa.float64())])


@pytest.mark.parametrize(
    ("marks", "name"),
    [
        pytest.param([], "tlc-2011", id="none"),
        pytest.param(["congestion_surcharge"], "tlc-2019", id="congestion"),
        pytest.param(["congestion_surcharge", "airport_fee"], "tlc-2021", id="airport"),
        pytest.param(["congestion_surcharge", "Airport_fee"], "tlc-2021", id="airport-in-its-other-spelling"),
        pytest.param(["Airport_fee", "cbd_congestion_fee"], "tlc-2025", id="congestion-relief-zone"),
        pytest.param(["pickup_longitude"], "tlc-2011", id="zones-go-before-coordinates"),
    ],
)
def test_the_newest_version_whose_marks_are_there_counts(marks, name):
    version = next(version for version in TRIPS.versions if version.name == "tlc-2011")
    columns = [(own, STORED[types[0]]) for own, types in version.sources.items()]
    assert recognised([*columns, *((mark, pa.null()) for mark in marks)]) == name


def test_without_zones_coordinates_are_needed():
    version = next(version for version in TRIPS.versions if version.name == "tlc-2011")
    columns = [(own, STORED[types[0]]) for own, types in version.sources.items() if "Location" not in own]
    assert "pickup_longitude is missing" in refusal(columns)
    assert recognised([*columns, ("pickup_longitude", pa.float64())]) == "tlc-2015-coordinates"


def test_a_contract_of_one_version_names_none():
    fares = InputContract("a file of fares", {"fare": Kind.DOUBLE})
    assert recognised([("fare", pa.float64())], fares) == ""
    with pytest.raises(InputError) as caught:
        recognised([("fare", pa.int32())], fares)
    assert (caught.value.got, caught.value.expected) == (
        "fare is INT32 instead of double",
        "the 1 columns of a file of fares",
    )
