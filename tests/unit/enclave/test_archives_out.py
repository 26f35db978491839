"""Results on their way out: what an engine may send, and what it may not make us write."""

from __future__ import annotations

import io
import itertools
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import ResultError
from confidential_spark.enclave.archives import ArchiveLimits, unpack_results
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> bytes:
    """Return one entry, also ones that no library would write."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def folder(name: str) -> bytes:
    return member(name, kind=tarfile.DIRTYPE)


END = bytes(1024)
GOOD = folder("results/") + member("results/summary.json", b"{}") + END


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
def test_files_and_folders_arrive_whatever_the_chunks(tmp_path: Path, size: int) -> None:
    data = folder("results/") + member("results/a.parquet", b"x" * 1000)
    data += folder("results/hour=7") + member("results/hour=7/b.parquet", b"y" * 512) + END
    assert unpack_results(chunked(data, size), tmp_path) == ["a.parquet", "hour=7/b.parquet"]
    assert (tmp_path / "a.parquet").read_bytes() == b"x" * 1000
    assert (tmp_path / "hour=7" / "b.parquet").read_bytes() == b"y" * 512


def test_what_a_library_writes_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "envelope.json").write_text("{}")
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(tmp_path / "source", "results")
    (tmp_path / "target").mkdir()
    assert unpack_results([stream.getvalue()], tmp_path / "target") == ["envelope.json"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(member("results/../x") + END, id="parent"),
        pytest.param(member("../x") + END, id="above"),
        pytest.param(member("/results/x") + END, id="absolute"),
        pytest.param(member("results//x") + END, id="empty-part"),
        pytest.param(member("results/.hidden") + END, id="hidden"),
        pytest.param(member("results/a\nb") + END, id="line-break"),
        pytest.param(member("results/" + "d/" * 8 + "x") + END, id="deep"),
        pytest.param(member("results/x", kind=tarfile.SYMTYPE, linkname="/etc/passwd") + END, id="symlink"),
        pytest.param(member("results/x", kind=tarfile.LNKTYPE, linkname="results/y") + END, id="hard-link"),
        pytest.param(member("results/x", kind=tarfile.CHRTYPE) + END, id="device"),
        pytest.param(member("results/x", kind=tarfile.FIFOTYPE) + END, id="fifo"),
        pytest.param(member("results/x", kind=tarfile.GNUTYPE_SPARSE) + END, id="sparse"),
        pytest.param(
            member("results/x", b"20 path=../y\n", kind=tarfile.XHDTYPE) + END, id="extended-header"
        ),
        pytest.param(member("results/x", b"long", kind=tarfile.GNUTYPE_LONGNAME) + END, id="long-name"),
        pytest.param(folder("results") + member("results", b"x") + END, id="file-for-the-folder"),
        pytest.param(member("results/x", b"1") * 2 + END, id="twice"),
        pytest.param(member("results/x/y", b"1") + END, id="no-folder"),
        pytest.param(folder("results/x/y") + END, id="no-folder-for-a-folder"),
        pytest.param(member("results/x", b"1") + folder("results/x") + END, id="folder-for-a-file"),
        pytest.param(GOOD[:-1024], id="no-end"),
        pytest.param(GOOD[:700], id="cut-in-a-header"),
        pytest.param(member("results/x", b"1" * 2000)[:1500], id="cut-in-a-file"),
        pytest.param(b"x" * 512 + END, id="no-header"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written_elsewhere(tmp_path: Path, data: bytes) -> None:
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(ResultError) as refusal:
        unpack_results([data], target)
    assert refusal.value.code == "results-archive-malformed"
    assert [path for path in tmp_path.rglob("*") if target not in (path, *path.parents)] == [target.parent]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(ArchiveLimits(entries=1), id="files"),
        pytest.param(ArchiveLimits(size=999), id="bytes"),
    ],
)
def test_too_much_is_refused(tmp_path: Path, limits: ArchiveLimits) -> None:
    data = member("results/a", b"x" * 500) + member("results/b", b"x" * 500) + END
    with pytest.raises(ResultError, match="results-too-large"):
        unpack_results([data], tmp_path, limits=limits)


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="results-too-large"):
        unpack_results(itertools.repeat(folder("results/again")), tmp_path)


@given(data=st.binary(max_size=1500), at=st.integers(0, 511))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, data: bytes, at: int) -> None:
    target = tmp_path_factory.mktemp("any")
    stream = member("results/x", b"1")[:at] + data
    with suppress(ResultError):
        names = unpack_results([stream], target)
        assert sorted(names) == sorted(
            p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()
        )
