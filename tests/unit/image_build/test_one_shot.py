"""Lines are put together from whatever pieces arrive."""

from __future__ import annotations

from confidential_spark.image_build.one_shot import MAX_LINE_BYTES, LineAssembler
from hypothesis import given
from hypothesis import strategies as st


def lines_of(*pieces: bytes) -> list[str]:
    assembler = LineAssembler()
    return [line for piece in pieces for line in assembler.feed(piece)] + list(assembler.rest())


@given(st.binary(max_size=300), st.integers(1, 9))
def test_the_cuts_do_not_matter(data: bytes, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert lines_of(*pieces) == lines_of(data)


def test_ends_of_lines_are_removed() -> None:
    assert lines_of(b"one\r\ntw", b"o\n\nthr\xc3", b"\xa9e") == ["one", "two", "", "thrée"]


def test_a_line_without_end_is_cut() -> None:
    [line] = lines_of(*[b"x" * 5000] * 10)
    assert len(line) == MAX_LINE_BYTES
