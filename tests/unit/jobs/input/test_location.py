import pytest
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError, InputError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.location import local_folder, month_uri
from hypothesis import given
from hypothesis import strategies as st

MAY = Month(2018, 5)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("file:///d/yellow", "file:///d/yellow/puYear=2018/puMonth=5", id="azure-layout"),
        pytest.param("file:///d/yellow/", "file:///d/yellow/puYear=2018/puMonth=5", id="trailing-slash"),
        pytest.param("/d/{year}/{month}", "/d/2018/5", id="template"),
        pytest.param("/d/{year}-{month:02d}", "/d/2018-05", id="padded"),
        pytest.param("/d/puYear=2018/puMonth=5", "/d/puYear=2018/puMonth=5", id="month-itself"),
        pytest.param(
            "file:/d/puYear%3D2018/puMonth%3D5", "file:/d/puYear%3D2018/puMonth%3D5", id="encoded-month"
        ),
        pytest.param("wasbs://c@a.blob/yellow", "wasbs://c@a.blob/yellow/puYear=2018/puMonth=5", id="cloud"),
    ],
)
def test_month_uri(template, expected):
    assert month_uri(template, MAY) == expected


@pytest.mark.parametrize(
    "template",
    [
        "/d/{",
        "/d/{day}",
        "/d/{month:>5000}",
        "/d/{year!r}",
        "/d/{0}",
        "/d/{}",
        "/d/{month.__class__}",
        "/d/}{",
    ],
)
def test_refuses_other_placeholders(template):
    with pytest.raises(ConfigurationError, match="input-template"):
        month_uri(template, MAY)


def test_refuses_the_location_of_another_month():
    with pytest.raises(InputError, match="input-month-mismatch"):
        month_uri("/d/puYear=2018/puMonth=50", MAY)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        pytest.param("file:///d/yellow", "/d/yellow", id="uri"),
        pytest.param("file:/d/yellow", "/d/yellow", id="hadoop-form"),
        pytest.param("file://localhost/d", "/d", id="localhost"),
        pytest.param("file:///d/with%20space", "/d/with space", id="percent-encoded"),
        pytest.param("file:///d/puYear%3D2018", "/d/puYear=2018", id="encoded-equals"),
        pytest.param("file:///d/with space", "/d/with space", id="raw"),
        pytest.param("/d/été", "/d/été", id="plain-path"),
    ],
)
def test_local_folder(uri, path):
    assert str(local_folder(uri)) == path


def test_relative_paths_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert local_folder("yellow") == tmp_path / "yellow"


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        pytest.param("wasbs://c@account.blob.example/yellow", "input-scheme", id="wasbs"),
        pytest.param("s3://bucket/yellow", "input-scheme", id="s3"),
        pytest.param("http://host/yellow", "input-scheme", id="http"),
        pytest.param("file://host/yellow", "input-uri", id="other-host"),
        pytest.param("file:yellow", "input-uri", id="relative-uri"),
        pytest.param("file:///d?x=1", "input-uri", id="query"),
        pytest.param("file:///d#x", "input-uri", id="fragment"),
        pytest.param("file:///d/%00", "input-uri", id="nul"),
        pytest.param("file:///d/%2Agz", "input-uri", id="pattern"),
        pytest.param("/d/a[1]", "input-uri", id="pattern-in-path"),
        pytest.param("/d/a%20b", "input-uri", id="percent-in-path"),
        pytest.param("/d/a\nb", "input-uri", id="newline"),
        pytest.param("", "input-uri", id="empty"),
        pytest.param("file://[::1", "input-uri", id="broken-host"),
    ],
)
def test_refuses_what_it_cannot_read(uri, code):
    with pytest.raises(ConfigurationError, match=rf"^\[{code}\]"):
        local_folder(uri)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("file://user:SECRET@host/yellow", id="password"),
        pytest.param("file:///yellow?sv=2021&sig=SECRET", id="sas"),
        pytest.param("file:///yellow%3Fsig=SECRET", id="quoted-sas"),
        pytest.param("AccountName=trips;AccountKey=SECRET", id="connection-string"),
    ],
)
@pytest.mark.parametrize(
    "read", [local_folder, lambda uri: month_uri(f"{uri}{{x}}", MAY)], ids=["folder", "template"]
)
def test_a_credential_is_refused_and_not_shown(read, uri):
    with pytest.raises(ConfigurationError, match=r"^\[input-credential\]") as caught:
        read(uri)
    assert "SECRET" not in str(caught.value)


@given(st.text(max_size=60) | st.text(alphabet="file:/{}%yearmonth=[]0123456789?#", max_size=40))
def test_any_text_is_a_folder_or_a_clear_error(text):
    try:
        folder = local_folder(month_uri(text, MAY))
    except ConfidentialSparkError:
        return
    assert folder.is_absolute()
    assert local_folder(f"file://{folder}") == folder
