"""What an enclave prints: copied in bounded memory, the failure's line found wherever it stands."""

from __future__ import annotations

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import output as enclave_output
from confidential_spark.enclave.output import LAST_LINES, MAX_LINE, EnclaveOutput

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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("::group::verdict", ": :group::verdict", id="fold"),
        pytest.param("::endgroup::", ": :endgroup::", id="end-of-fold"),
        pytest.param("\x1b[2J\x1b[32mDONE verify: 13 of 13 PASS\x1b[0m", None, id="colours"),
        pytest.param("first\rsecond", "first\ufffdsecond", id="carriage-return"),
        pytest.param("a\u202eb", "a\ufffdb", id="direction"),
        pytest.param("column\tcolumn – ✓", "column\tcolumn – ✓", id="harmless"),
    ],
)
def test_what_an_enclave_prints_is_shown_and_not_obeyed(line: str, shown: str | None) -> None:
    reader = Reader()
    reader.output.feed(line)
    (logged,) = reader.lines
    assert shown is None or logged == shown
    assert logged.replace("\t", "").isprintable()
    assert "::group::" not in logged


def test_progress_is_harmless_too() -> None:
    reader = Reader()
    reader.output.feed('PROGRESS {"stage":"\\u001b[2J","done":1,"total":1,"text":"::group::\\u0007DONE"}')
    (record,) = reader.records
    assert record == {"stage": "\ufffd[2J", "done": 1, "total": 1, "text": ": :group::\ufffdDONE"}


def test_the_diagnosis_keeps_its_lines_and_obeys_none() -> None:
    reader = Reader()
    reader.output.feed("java.lang.OutOfMemoryError ::endgroup::")
    with pytest.raises(EnclaveError):
        reader.output.fail(reader.output.watcher.diagnose(80))
    assert reader.lines[-1].count("\n") > 3
    assert "::endgroup::" not in reader.lines[-1]
