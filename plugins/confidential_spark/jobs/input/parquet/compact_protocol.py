"""Apache Thrift's compact protocol, in which Parquet writes its footer and its pages' headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRUE, FALSE, BYTE, I16, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12
LONG_LIST = 15
DEEPEST = 16
"""Structures in each other; Parquet has fewer."""


class CompactReader:
    """Reads the protocol's structures in order; every value must be read or skipped.

    :raises ValueError: from each method, where the bytes end or are of another form.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def read(self) -> int:
        """How many bytes have been read."""
        return self._at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and kind of each field of a structure."""
        number = 0
        while header := self._byte():
            delta = header >> 4
            number = number + delta if delta else self._signed()
            yield number, header & 15

    def number(self, kind: int) -> int:
        """Return a whole number of 16, 32 or 64 bits."""
        if not I16 <= kind <= I64:
            raise ValueError(f"kind {kind} is no whole number")
        return self._signed()

    def list_of(self, kind: int) -> int:
        """Return how many items follow, which must be of one kind."""
        size, found = self._list()
        if found != kind:
            raise ValueError(f"a list of kind {found}, expected {kind}")
        return size

    def skip(self, kind: int, depth: int = 0) -> None:
        """Go on behind a value."""
        if depth > DEEPEST:
            raise ValueError("too many structures in each other")
        if kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (LIST, SET):
            size, item = self._list()
            self._skip_items(size, (item,), depth)
        elif kind == MAP:
            self._skip_map(depth)
        else:
            self._skip_plain(kind)

    def _skip_map(self, depth: int) -> None:
        if size := self._unsigned():
            kinds = self._byte()
            self._skip_items(size, (kinds >> 4, kinds & 15), depth)

    def _skip_items(self, size: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(size):
            for kind in kinds:
                # As items, truth values have a byte of their own.
                self.skip(BYTE if kind in (TRUE, FALSE) else kind, depth + 1)

    def _skip_plain(self, kind: int) -> None:
        if kind == BINARY:
            self._advance(self._unsigned())
        elif kind == DOUBLE:
            self._advance(8)
        elif kind == BYTE:
            self._advance(1)
        elif I16 <= kind <= I64:
            self._unsigned()
        elif kind not in (TRUE, FALSE):
            raise ValueError(f"kind {kind} is none of the protocol's")

    def _list(self) -> tuple[int, int]:
        header = self._byte()
        size = header >> 4
        return (self._unsigned() if size == LONG_LIST else size), header & 15

    def _byte(self) -> int:
        self._advance(1)
        return self._data[self._at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _advance(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise ValueError(f"the footer ends after {len(self._data)} bytes")
