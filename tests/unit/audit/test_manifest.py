"""The manifest's one form: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from confidential_spark.audit.archive import read_members, written
from confidential_spark.audit.contents import require_names
from confidential_spark.audit.manifest import CHECKSUM, KEYS, MANIFEST, README, SCRIPT, Manifest
from confidential_spark.audit.months import MAX_MONTHS, months_between
from confidential_spark.core.errors import InputError, VerificationError
from hypothesis import example, given
from hypothesis import strategies as st

ENTRY = {"bytes": 1, "sha256": "ab" * 32}
NAMES = [README, "jobs/nytaxi.py", KEYS, "months/2018-05/evidence.json", "policy/p.yaml", SCRIPT]
PLAIN = {
    "mediaType": "application/vnd.confidential-spark.audit-bundle.v1+json",
    "job": "nytaxi",
    "platform": "local",
    "first": "2018-05",
    "last": "2018-06",
    "months": {
        "2018-05": {"found": "VERIFIED", "reason": "", "left_out": 0},
        "2018-06": {"found": "MISSING", "reason": "spark-failed", "left_out": 0},
    },
    "policy": "policy/p.yaml",
    "ledger": None,
    "keys": KEYS,
    "job_files": ["jobs/nytaxi.py"],
    "files": dict.fromkeys(NAMES, ENTRY),
}


EMPTY = b"".join(written([]))


def text(value) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def test_what_is_written_is_read():
    manifest = Manifest.parse(text(PLAIN))
    assert manifest.to_bytes() == text(PLAIN)
    assert manifest.stem == "audit-nytaxi_local-2018-05-to-2018-06"
    assert manifest.files_of("2018-05") == ["months/2018-05/evidence.json"]


def changed(*path, to):
    value = deepcopy(PLAIN)
    place = value
    for name in path[:-1]:
        place = place[name]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    value["files"] = dict(sorted(value["files"].items())) if isinstance(value.get("files"), dict) else value
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param([], "manifest", id="no-object"),
        pytest.param(changed("more", to=1), "more", id="unknown-member"),
        pytest.param(changed("job", to=KeyError), "job", id="no-job"),
        pytest.param(changed("job", to="../x"), "job", id="job-with-a-path"),
        pytest.param(changed("platform", to="local\n"), "platform", id="platform-with-a-line-break"),
        pytest.param(changed("mediaType", to="text/plain"), "mediaType", id="another-kind"),
        pytest.param(changed("first", to="2018-5"), "first", id="month-of-another-form"),
        pytest.param(changed("first", to="2018-07"), "range of months", id="range-the-wrong-way-round"),
        pytest.param(changed("last", to="2018-07"), "each month", id="a-month-without-a-line"),
        pytest.param(
            changed("months", "2018-07", to={"found": "MISSING"}), "each month", id="a-month-too-many"
        ),
        pytest.param(changed("months", "2018-05", "found", to="FINE"), "found", id="another-word"),
        pytest.param(
            changed("months", "2018-05", "reason", to="<script>"), "reason", id="reason-with-markup"
        ),
        pytest.param(changed("months", "2018-05", "left_out", to=-1), "left_out", id="negative"),
        pytest.param(changed("months", "2018-05", "left_out", to=True), "left_out", id="true-as-a-number"),
        pytest.param(changed("files", "../x", to=ENTRY), "unsafe", id="slip"),
        pytest.param(changed("files", "/x", to=ENTRY), "unsafe", id="absolute"),
        pytest.param(changed("files", "months/2018-05/a\\b", to=ENTRY), "unsafe", id="back-slash"),
        pytest.param(changed("files", "months/2018-07/x", to=ENTRY), "no place", id="month-outside"),
        pytest.param(changed("files", "months/2018-05", to=ENTRY), "no place", id="file-as-a-month"),
        pytest.param(changed("files", "x", to=ENTRY), "no place", id="elsewhere"),
        pytest.param(changed("files", MANIFEST, to=ENTRY), "no place", id="itself"),
        pytest.param(changed("files", CHECKSUM, to=ENTRY), "no place", id="its-checksum"),
        pytest.param(changed("files", "jobs/NYTAXI.py", to=ENTRY), "distinct|one in some", id="case"),
        pytest.param(
            changed("files", "jobs/nytaxi.py/x", to=ENTRY), "distinct|one in some", id="file-and-folder"
        ),
        pytest.param(changed("files", README, to=KeyError), "README.md", id="no-readme"),
        pytest.param(changed("policy", to="policy/q.yaml"), "policy/q.yaml", id="policy-not-there"),
        pytest.param(changed("ledger", to="policy/l"), "policy/l", id="ledger-not-there"),
        pytest.param(changed("files", README, to={**ENTRY, "sha256": "AB" * 32}), "sha256", id="upper-case"),
        pytest.param(changed("files", README, to={**ENTRY, "bytes": 1.0}), "bytes", id="float"),
        pytest.param(changed("files", README, to={**ENTRY, "bytes": 10**400}), "", id="huge-number"),
        pytest.param({**PLAIN, "files": dict(reversed(PLAIN["files"].items()))}, "order", id="order"),
    ],
)
def test_a_manifest_of_another_shape(value, why):
    with pytest.raises(VerificationError, match=f"audit-manifest-malformed.*({why})"):
        Manifest.parse(text(value))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf" + text(PLAIN), id="byte-order-mark"),
        pytest.param(text(PLAIN)[:-1], id="no-line-end"),
        pytest.param(text(PLAIN) + b"\n", id="one-more"),
        pytest.param(text(PLAIN).replace(b"nytaxi", b"nyt\\u0061xi", 1), id="escape"),
        pytest.param(text(PLAIN).replace(b'"job":', b'"job": "x",\n "job":', 1), id="member-twice"),
        pytest.param(text(PLAIN).replace(b'"bytes": 1,', b'"bytes": NaN,', 1), id="nan"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b" " * (8 * 1024 * 1024 + 1), id="large"),
        pytest.param(b"\xff", id="no-utf-8"),
    ],
)
def test_a_manifest_that_is_written_otherwise(data):
    with pytest.raises(VerificationError, match="audit-manifest-malformed"):
        Manifest.parse(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(PLAIN)), JSON)
@example("months", {"2018-05": {}})
def test_whatever_stands_in_a_member_is_read_as_it_is_or_refused(member, value):
    data = text({**PLAIN, member: value}) if is_text(value) else b"\x00"
    assert read_or_refused(data) in (data, "audit-manifest-malformed")


def read_or_refused(data: bytes) -> bytes | str:
    """Return what a manifest is when it is written again, or the code of its refusal."""
    try:
        return Manifest.parse(data).to_bytes()
    except VerificationError as error:
        return error.code


def is_text(value) -> bool:
    try:
        text(value)
    except UnicodeEncodeError:
        return False
    return True


@given(st.data())
def test_any_changed_byte_is_refused_or_another_manifest(data):
    plain = text(PLAIN)
    at = data.draw(st.integers(0, len(plain) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != plain[at]))
    changed = plain[:at] + bytes([byte]) + plain[at + 1 :]
    assert read_or_refused(changed) in (changed, "audit-manifest-malformed")


@given(st.binary(max_size=400))
@example(b"")
@example(b"PK\x03\x04" + b"\xff" * 60)
@example(b"PK\x05\x06" + bytes(18))
def test_no_bytes_break_the_reader_of_archives(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("archive") / "x.zip"
    path.write_bytes(data)
    assert members_or_refused(path) == ([] if data == EMPTY else "audit-bundle-malformed")


def members_or_refused(path) -> list | str:
    try:
        with path.open("rb") as file:
            return read_members(file)
    except VerificationError as error:
        return error.code


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=50), max_size=5))
def test_archives_are_read_as_they_are_written(tmp_path_factory, files):
    files = {name: content for name, content in files.items() if is_text(name)}
    path = tmp_path_factory.mktemp("archive") / "x.zip"
    path.write_bytes(b"".join(written(files.items())))
    with path.open("rb") as file:
        members = read_members(file)
        found = {}
        for member in members:
            file.seek(member.content_at)
            found[member.name] = file.read(member.size)
    assert found == files


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["a", "A"], id="case"),
        pytest.param(["é", "e\u0301"], id="normal-form"),
        pytest.param(["a", "a/b"], id="folder"),
        pytest.param(["a/../b"], id="up"),
        pytest.param(["."], id="itself"),
        pytest.param([""], id="empty"),
        pytest.param(["a\u200bb"], id="without-width"),
    ],
)
def test_names_that_no_bundle_has(names):
    with pytest.raises(VerificationError, match="audit-bundle-malformed"):
        require_names(set(names))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param("2018-05", "2018-05", ("2018-05",), id="one"),
        pytest.param("2018-12", "2019-02", ("2018-12", "2019-01", "2019-02"), id="over-a-year's-end"),
        pytest.param("2009-01", "2058-12", MAX_MONTHS, id="longest"),
    ],
)
def test_months_of_a_range(first, last, expected):
    found = months_between(first, last)
    assert found == expected or len(found) == expected


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param("2018-06", "2018-05", id="the-wrong-way-round"),
        pytest.param("2009-01", "2059-01", id="too-long"),
        pytest.param("2018-13", "2019-01", id="no-month"),
        pytest.param("2018-05\n", "2019-01", id="line-break"),
        pytest.param("٢٠١٨-05", "2019-01", id="other-digits"),
        pytest.param("2018-05", "", id="empty"),
    ],
)
def test_what_is_no_range(first, last):
    with pytest.raises(InputError, match="audit-range"):
        months_between(first, last)
