"""A year in an audit bundle: its own files there, and the bundle's months in the place of its months.

A bundle has each month once. So a year that was added up of other months than these cannot be verified from
it: it is stale against the bundle, and says which months differ.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.safe_files import read_regular
from confidential_spark.years.statement import (
    MAX_STATEMENT_BYTES,
    MONTHS,
    REPORT,
    STATEMENT,
    SUMMARY,
    materials_of,
    read_statement,
)
from confidential_spark.years.sums import months_of_year
from confidential_spark.years.verify import verify_year

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from confidential_spark.years.months import Acceptance
    from confidential_spark.years.verify import YearReport

YEARS_FOLDER = "years"
OWN_FILES = frozenset({STATEMENT, SUMMARY, REPORT})


class Files(Protocol):
    """The files of a bundle by name."""

    def names(self) -> set[str]:
        """Return the names of all files."""

    def pieces(self, name: str) -> Iterable[bytes]:
        """Yield a file's content."""


@dataclass(frozen=True)
class BundledYear:
    """What is said of a year of a bundle.

    :param word: VERIFIED, REFUSED, NOT CHECKED, STALE or MISSING.
    :param code: of the refusal.
    :param report: None where there was nothing to verify.
    """

    word: str
    code: str = ""
    detail: str = ""
    report: YearReport | None = None


def judge_year(
    files: Files, expected: tuple[str, str], accept: Acceptance, programs: Sequence[str]
) -> BundledYear:
    """Verify a year of a bundle with the bundle's months.

    :param expected: job and year.
    :param programs: SHA-256 of each program that may have run; none: not compared.
    """
    year = expected[1]
    if not any(name.startswith(f"{YEARS_FOLDER}/{year}/") for name in files.names()):
        return BundledYear("MISSING", detail="the bundle has no sum of its months")
    with _unpacked(files, year) as folder:
        places = {month: folder / MONTHS / month / STATEMENT for month in months_of_year(year)}
        there = {month: path for month, path in places.items() if path.is_file()}
        evidence = {month: sha256(path.read_bytes()).hexdigest() for month, path in there.items()}
        return verdict_on(folder, expected, accept, programs, evidence)


def verdict_on(
    folder: Path,
    expected: tuple[str, str],
    accept: Acceptance,
    programs: Sequence[str],
    evidence: Mapping[str, str],
) -> BundledYear:
    """Verify the year in a folder, unless it was added up of other months than a bundle has.

    :param evidence: ``YYYY-MM`` → SHA-256 of the `evidence.json` that the bundle has of the month.
    """
    program: str | None = next(iter(programs), None)
    try:
        statement = read_statement(read_regular(folder / STATEMENT, MAX_STATEMENT_BYTES))
        materials = materials_of(statement)
        ran = statement["predicate"]["materials"][0]["job_file_sha256"]
        program = ran if ran in programs else program
    except (OSError, ValueError, LookupError, TypeError, VerificationError):
        materials = {}  # the verification says what is wrong
    others = [month for month, digest in materials.items() if evidence.get(month) != digest]
    if others and set(materials) == set(months_of_year(expected[1])):
        differ = (f"{month} {'is another one' if month in evidence else 'is not there'}" for month in others)
        return BundledYear(
            "STALE", detail=f"added up of other months than the bundle has: {', '.join(differ)}"
        )
    report = verify_year(folder, replace(accept, job_file_sha256=program), expected=expected)
    if failed := report.failure:
        detail = f"step {failed.number}: {failed.detail} {failed.got or ''}"
        return BundledYear(report.outcome.word, failed.code or "", detail, report)
    return BundledYear(report.outcome.word, detail="the sum of the twelve months", report=report)


@contextmanager
def _unpacked(files: Any, year: str) -> Iterator[Path]:
    """Yield a folder of the year as it was published: its own files, and the months of the bundle."""
    with TemporaryDirectory(prefix="year-") as private:
        for name in files.names():
            own, month = f"{YEARS_FOLDER}/{year}/", f"{MONTHS}/{year}-"
            if name.startswith((own, month)):
                path = Path(private, name.removeprefix(own))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as copy:
                    copy.writelines(files.pieces(name))
        yield Path(private)
