from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.months import Month
from confidential_spark.jobs.input.blob_location import (
    PUBLIC_DATA_SET,
    BlobLocation,
    is_blob_location,
    parse_blob_location,
)
from confidential_spark.jobs.input.location import month_uri
from confidential_spark.pipelines.params import INPUT_PATTERN
from hypothesis import given
from hypothesis import strategies as st

HERE = BlobLocation("https://trips.blob.core.windows.net", "trips", "yellow-taxi", "a b/2018")
EMULATOR = "http://127.0.0.1:10000/devstoreaccount1"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("wasbs://yellow-taxi@trips.blob.core.windows.net/a b/2018", id="wasbs"),
        pytest.param("abfss://yellow-taxi@trips.dfs.core.windows.net/a%20b/2018/", id="abfss"),
        pytest.param("https://trips.blob.core.windows.net/yellow-taxi/a%20b/2018", id="https"),
        pytest.param(" https://TRIPS.blob.core.windows.net/yellow-taxi/a b/2018/ ", id="spaces-and-capitals"),
    ],
)
def test_three_spellings_are_one_place(text):
    assert is_blob_location(text)
    assert parse_blob_location(text) == HERE
    assert HERE.url(HERE.path) == "https://trips.blob.core.windows.net/yellow-taxi/a%20b/2018"


@pytest.mark.parametrize(
    ("text", "endpoint", "path"),
    [
        pytest.param(
            "wasbs://c-1@a12.blob.core.windows.net", "https://a12.blob.core.windows.net", "", id="root"
        ),
        pytest.param(f"{EMULATOR}/c-1/x", EMULATOR, "x", id="emulator-itself"),
        pytest.param(
            "wasbs://c-1@devstoreaccount1.blob.core.windows.net/x", EMULATOR, "x", id="emulators-account"
        ),
        pytest.param(
            "wasbs://c-1@other.blob.core.windows.net/x",
            "https://other.blob.core.windows.net",
            "x",
            id="another",
        ),
    ],
)
def test_an_emulator_stands_in_for_its_own_account(text, endpoint, path):
    found = parse_blob_location(text, emulator=EMULATOR)
    assert (found.endpoint, found.container, found.path) == (endpoint, "c-1", path)


def test_another_cloud_has_another_suffix():
    text = "abfss://c-1@trips.dfs.core.usgovcloudapi.net/x"
    there = parse_blob_location(text, suffix="core.usgovcloudapi.net")
    assert there.endpoint == "https://trips.blob.core.usgovcloudapi.net"
    with pytest.raises(ConfigurationError, match=r"\[input-uri\].*core\.windows\.net"):
        parse_blob_location(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("wasb://c-1@trips.blob.core.windows.net/x", "input-scheme", id="no-tls"),
        pytest.param("http://trips.blob.core.windows.net/c-1/x", "input-scheme", id="http"),
        pytest.param("wasbs://c-1@trips.dfs.core.windows.net/x", "input-uri", id="wrong-service"),
        pytest.param("https://trips.dfs.core.windows.net/c-1/x", "input-uri", id="https-dfs"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net.evil.example/x", "input-uri", id="longer-host"),
        pytest.param("wasbs://c-1@evil.example/x", "input-uri", id="another-host"),
        pytest.param("wasbs://trips.blob.core.windows.net/x", "input-uri", id="no-container"),
        pytest.param("https://trips.blob.core.windows.net", "input-uri", id="https-no-container"),
        pytest.param("wasbs://c--1@trips.blob.core.windows.net/x", "input-uri", id="container-hyphens"),
        pytest.param("wasbs://c-@trips.blob.core.windows.net/x", "input-uri", id="container-ends"),
        pytest.param("wasbs://UP@trips.blob.core.windows.net/x", "input-uri", id="container-capitals"),
        pytest.param("wasbs://c-1@tr_ips.blob.core.windows.net/x", "input-uri", id="account-form"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net:444/x", "input-uri", id="port"),
        pytest.param("https://trips.blob.core.windows.net:x/c-1", "input-uri", id="no-port"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a/../b", "input-uri", id="parent"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a/%2e%2e/b", "input-uri", id="encoded-parent"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a//b", "input-uri", id="empty-part"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a%00b", "input-uri", id="encoded-control"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a\tb", "input-uri", id="control"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a%ff", "input-uri", id="no-utf8"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/a%25b", "input-uri", id="percent-in-a-folder"),
    ],
)
def test_what_is_no_place_is_refused_by_name(text, code):
    with pytest.raises(ConfigurationError, match=rf"\[{code}\]"):
        parse_blob_location(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://trips.blob.core.windows.net/c-1/x?sv=2021&sig=SECRET", id="sas"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/x?sig=SECRET", id="sas-in-wasbs"),
        pytest.param(f"{EMULATOR}/c-1/x?sig=SECRET", id="sas-of-the-emulator"),
        pytest.param("https://trips.blob.core.windows.net/c-1/x#SECRET", id="fragment"),
        pytest.param("https://SECRET@trips.blob.core.windows.net/c-1/x", id="user"),
        pytest.param("https://user:SECRET@trips.blob.core.windows.net/c-1/x", id="password"),
        pytest.param("wasbs://c-1:SECRET@trips.blob.core.windows.net/x", id="key-beside-the-container"),
        pytest.param("https://user:SECRET@trips.blob.core.windows.net:999999/c-1/x", id="impossible-port"),
        pytest.param("wasbs://c-1@trips.blob.core.windows.net/x%3Fsig=SECRET", id="quoted-sas"),
    ],
)
def test_a_credential_in_the_address_is_refused_and_not_shown(text):
    with pytest.raises(ConfigurationError, match=r"\[input-credential\]") as caught:
        parse_blob_location(text, emulator=EMULATOR)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://user:SECRET/c-1/x", id="password-in-the-ports-place"),
        pytest.param("https://user:SEC/RET@trips.blob.core.windows.net/c-1/x", id="password-with-a-slash"),
        pytest.param("https://SECRET@[trips/c-1/x", id="broken-host"),
        pytest.param("https://SECRET@trips.blob.core.windows.net/\x01", id="unprintable"),
    ],
)
def test_nothing_of_a_malformed_address_is_shown(text):
    with pytest.raises(ConfigurationError, match=r"\[input-uri\]") as caught:
        parse_blob_location(text)
    assert "https:…" in str(caught.value)
    assert "SEC" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "is_taken"),
    [
        pytest.param(PUBLIC_DATA_SET, True, id="template"),
        pytest.param(f"{EMULATOR}/c-1/yellow", True, id="emulator"),
        pytest.param("https://trips.blob.core.windows.net/c/x?sig=SECRET", False, id="query"),
        pytest.param("http://trips.blob.core.windows.net/c/x", False, id="no-tls"),
        pytest.param("http://127.0.0.1.evil.example:80/c/x", False, id="longer-host"),
    ],
)
def test_the_trigger_form_takes_addresses_of_blobs_without_a_query(location, is_taken):
    assert bool(re.search(INPUT_PATTERN, location)) is is_taken


def test_the_public_data_set_is_a_template_of_azures_layout():
    place = parse_blob_location(PUBLIC_DATA_SET)
    assert place.container_url == "https://azureopendatastorage.blob.core.windows.net/nyctlc"
    assert month_uri(place.path, Month(2018, 6)) == "yellow/puYear=2018/puMonth=6"


def parsed(text):
    """The place, or the code of the refusal."""
    try:
        return parse_blob_location(text)
    except ConfigurationError as error:
        return error.code


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_a_path_survives_its_address(segments):
    place = parsed(f"https://trips.blob.core.windows.net/c-1/{quote('/'.join(segments))}")
    if isinstance(place, BlobLocation):
        assert place.path == "/".join(segments).strip("/")
        assert parse_blob_location(place.url(place.path)) == place
    else:
        assert place == "input-uri"


@given(st.text(max_size=60))
def test_no_text_ends_otherwise_than_in_a_place_or_a_named_refusal(text):
    for location in (text, f"wasbs://{text}", f"https://{text}", f"wasbs://c@{text}.blob.core.windows.net/x"):
        found = parsed(location)
        assert isinstance(found, BlobLocation) or found in {"input-uri", "input-scheme", "input-credential"}
