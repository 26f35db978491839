import shutil

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.layouts import files_at, month_input

MAY = Month(2018, 5)
FILE = "yellow_tripdata_2018-05.parquet"
AZURE = "puYear=2018/puMonth=5"


@pytest.fixture
def root(tmp_path):
    """A folder of each layout, beside each other."""
    for name in (
        *("flat/yellow_tripdata_2018-05.parquet", "flat/yellow_tripdata_2018-06.parquet", "flat/readme.txt"),
        *("yellow/puYear=2018/puMonth=5/a.parquet", "yellow/puYear=2018/puMonth=5/b.parquet"),
        *("years/2018/yellow_tripdata_2018-05.parquet", "months/2018-05/part-0.parquet"),
        *("both/yellow_tripdata_2018-05.parquet", "both/puYear=2018/puMonth=5/a.parquet"),
        *("empty/x", "one/may.parquet", "table.parquet/puYear=2018/puMonth=5/a.parquet"),
        *("delta/_delta_log/0.json", "delta/yellow_tripdata_2018-05.parquet"),
        *("written/_temporary/x", "written/yellow_tripdata_2018-05.parquet"),
        *("colon/a:b.parquet", "csv/yellow_tripdata_2018-05.csv"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("location", "place", "names"),
    [
        pytest.param("flat", f"flat/{FILE}", [FILE], id="folder-of-the-tlcs-files"),
        pytest.param("flat/", f"flat/{FILE}", [FILE], id="trailing-slash"),
        pytest.param(f"flat/{FILE}", f"flat/{FILE}", [FILE], id="one-of-the-tlcs-files"),
        pytest.param("one/may.parquet", "one/may.parquet", ["may.parquet"], id="any-file"),
        pytest.param("yellow", f"yellow/{AZURE}", ["a.parquet", "b.parquet"], id="azure"),
        pytest.param(f"yellow/{AZURE}", f"yellow/{AZURE}", ["a.parquet", "b.parquet"], id="azures-month"),
        pytest.param(f"yellow/{AZURE}/", f"yellow/{AZURE}", ["a.parquet", "b.parquet"], id="with-a-slash"),
        pytest.param("table.parquet", f"table.parquet/{AZURE}", ["a.parquet"], id="folder-named-as-a-file"),
        pytest.param(
            "years/{year}/yellow_tripdata_{year}-{month:02d}.parquet",
            f"years/2018/{FILE}",
            [FILE],
            id="template-of-files",
        ),
        pytest.param(
            "months/{year}-{month:02d}", "months/2018-05", ["part-0.parquet"], id="template-of-folders"
        ),
    ],
)
def test_finds_the_months_files(root, location, place, names):
    found, files = month_input(f"{root}/{location}", MAY)
    assert (found, [file.name for file in files]) == (root / place, names)
    assert month_input(f"file://{root}/{location}", MAY) == (found, files)
    assert files_at(found, MAY) == (found, files)


@pytest.mark.parametrize(
    ("location", "code", "said"),
    [
        pytest.param("absent", "input-missing", "/absent · expected", id="no-such-folder"),
        pytest.param("empty", "month-without-data", "puYear=2018/puMonth=5/*.parquet (Azure) or", id="other"),
        pytest.param("empty", "month-without-data", FILE, id="names-the-tlcs-file"),
        pytest.param("csv", "month-without-data", "which has neither", id="csv"),
        pytest.param(
            "flat/yellow_tripdata_2018-06.parquet", "input-month-mismatch", "another month", id="other-file"
        ),
        pytest.param("both", "input-two-layouts", "two layouts", id="two-layouts"),
        pytest.param("delta", "input-is-a-table", "Delta Lake", id="table"),
        pytest.param("written", "input-being-written", "_temporary", id="being-written"),
        pytest.param("colon/a:b.parquet", "input-foreign-file", "a:b.parquet", id="colon"),
        pytest.param(f"csv/{FILE[:-8]}.csv", "input-foreign-file", ".csv", id="one-csv"),
        pytest.param("folder", "input-empty", FILE, id="folder-in-the-files-place"),
        pytest.param("years/{year}", "input-foreign-file", "x", id="template-of-years"),
    ],
)
def test_refuses_by_name_and_says_what_it_looked_for(root, location, code, said):
    (root / "years" / "2018" / "x").touch()
    with pytest.raises(ConfidentialSparkError, match=rf"^\[{code}\] ") as caught:
        month_input(f"{root}/{location}", MAY)
    assert said in str(caught.value)


def test_a_month_that_the_tlcs_files_do_not_have_is_said_with_those_they_have(root):
    with pytest.raises(ConfidentialSparkError, match=r"yellow_tripdata_2018-05\.parquet to yellow_.*-06"):
        month_input(str(root / "flat"), Month(2019, 1))


def test_a_folder_that_may_not_be_read_is_named(root):
    shutil.rmtree(root / "flat")
    (root / "flat").symlink_to("flat")
    with pytest.raises(ConfidentialSparkError, match=r"^\[input-(unreadable|missing)\] "):
        month_input(str(root / "flat"), MAY)
