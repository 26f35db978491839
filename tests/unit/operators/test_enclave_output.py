"""What an enclave prints: copied in bounded memory, the failure's line found wherever it stands."""

from __future__ import annotations

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.operators import enclave_output
from confidential_spark.operators.enclave_output import LAST_LINES, MAX_LINE, EnclaveOutput

PROGRESS = 'PROGRESS {"stage":"spark","done":1,"total":9,"text":"reading"}'


class Reader:
    """An output whose lines and records are kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.records: list[object] = []
        self.output = EnclaveOutput(log=self.lines.append, on_progress=self.records.append)


def test_lines_and_progress_are_told_apart() -> None:
    reader = Reader()
    for line in ("hello\n", PROGRESS, "PROGRESS nonsense\r\n"):
        reader.output.feed(line)
    assert reader.lines == ["hello", "PROGRESS nonsense"]
    assert len(reader.records) == 1


def test_what_an_earlier_try_has_logged_counts_and_is_not_repeated() -> None:
    reader = Reader()
    reader.output.feed("[input-missing] no month", known=True)
    reader.output.feed(PROGRESS, known=True)
    assert (reader.lines, reader.records) == ([], [])
    assert reader.output.watcher.diagnose(80).cause.line == "[input-missing] no month"


def test_a_flood_shows_its_beginning_and_its_end(monkeypatch) -> None:
    monkeypatch.setattr(enclave_output, "MAX_LOGGED", 100)
    reader = Reader()
    for number in range(1000):
        reader.output.feed(f"line {number}")
    before = len(reader.lines)
    reader.output.close()
    assert reader.lines[0] == "line 0"
    assert reader.lines[-LAST_LINES:] == [f"line {number}" for number in range(1000 - LAST_LINES, 1000)]
    cuts = [line for line in reader.lines if "[log-cut]" in line]
    assert len(cuts) == 2
    assert before + LAST_LINES + 1 == len(reader.lines) < 250


def test_the_cause_in_a_floods_middle_is_found(monkeypatch) -> None:
    monkeypatch.setattr(enclave_output, "MAX_LOGGED", 10)
    reader = Reader()
    for number in range(2 * LAST_LINES + 2):
        reader.output.feed("[input-missing] no month" if number == LAST_LINES // 2 else "noise")
    assert not any("input-missing" in line for line in reader.lines)
    with pytest.raises(EnclaveError, match="month-missing"):
        reader.output.fail(reader.output.watcher.diagnose(80))


def test_a_line_is_bounded() -> None:
    reader = Reader()
    reader.output.feed("x" * (MAX_LINE + 1))
    assert [len(line) for line in reader.lines] == [MAX_LINE]


def test_closing_twice_says_nothing_twice() -> None:
    reader = Reader()
    reader.output.feed("one")
    reader.output.close()
    reader.output.close()
    assert reader.lines == ["one"]
