"""The year's statement: an in-toto Statement v1 that names every file and the twelve months it was made of.

Nobody signs it. It needs no signature: everything it says follows from the months, whose own evidence is
signed inside their enclaves and lies beside it; who verifies the year makes the statement again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from confidential_spark.agent.protocol import SIMULATED_NOTICE, STATEMENT_TYPE, TRUST_SIMULATED
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification import strict_json
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from confidential_spark.years.months import VerifiedMonth

YEAR_PREDICATE = "urn:confidential-spark:year:v1"
COMPUTED = "outside of any enclave, from the months named here; verifying the year adds them up again"
STATEMENT, SUMMARY, REPORT, MONTHS = "evidence.json", "summary.json", "report.json", "months"
MAX_STATEMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Making:
    """What no month says: who made the year, when, and under which names the months were published.

    :param made_at: ISO time, UTC.
    :param versions: ``YYYY-MM`` → version.
    """

    run_id: str
    made_at: str
    versions: Mapping[str, str]

    @classmethod
    def of(cls, statement: Mapping[str, Any]) -> Self:
        """Read it from a statement.

        :raises VerificationError: ``year-statement``.
        """
        try:
            predicate = statement["predicate"]
            materials = predicate["materials"]
            versions = {each["name"].removeprefix("month="): each["version"] for each in materials}
            making = cls(predicate["run_id"], predicate["made_at"], versions)
            texts = (making.run_id, making.made_at, *versions, *versions.values())
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("run_id, made_at and versions are texts")
        except (KeyError, TypeError, AttributeError) as error:
            raise statement_error(
                f"{type(error).__name__}: {error}", "the shape in docs/results.md"
            ) from error
        return making


def make_statement(
    year: str,
    job: str,
    trust: str,
    months: Sequence[VerifiedMonth],
    files: Mapping[str, str],
    making: Making,
) -> dict[str, Any]:
    """Return the statement that these months and files have.

    :param files: name → hex SHA-256 of every file of the year but the statement and the report.
    """
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())]
    predicate = {
        "v": 1,
        "job": job,
        "year": year,
        "trust": trust,
        "notice": SIMULATED_NOTICE if trust == TRUST_SIMULATED else None,
        "synthetic": any(month.synthetic for month in months),
        "computed": COMPUTED,
        "run_id": making.run_id,
        "made_at": making.made_at,
        "materials": [month.material(making.versions.get(month.month, "")) for month in months],
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": YEAR_PREDICATE,
        "predicate": predicate,
    }


def read_statement(content: bytes) -> dict[str, Any]:
    """Return a statement's members, of which nothing is believed yet.

    :raises VerificationError: ``evidence-malformed``, ``input-too-large``, ``year-statement``.
    """
    value = strict_json.loads(
        content,
        what="year's statement",
        max_bytes=MAX_STATEMENT_BYTES,
        malformed=Refusal.EVIDENCE_MALFORMED,
    )
    kinds = (STATEMENT_TYPE, YEAR_PREDICATE)
    found = (value.get("_type"), value.get("predicateType")) if isinstance(value, dict) else ()
    if found != kinds:
        raise statement_error(f"{found}", f"{kinds}: the evidence.json of a year")
    return dict(value)


def materials_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return which months a statement names: ``YYYY-MM`` → hex SHA-256 of the month's `evidence.json`.

    :raises VerificationError: ``year-statement``.
    """
    try:
        materials = statement["predicate"]["materials"]
        return {each["name"].removeprefix("month="): str(each["digest"]["sha256"]) for each in materials}
    except (KeyError, TypeError, AttributeError) as error:
        raise statement_error(f"{type(error).__name__}: {error}", "materials with digests") from error


def require_same(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Accept a statement that says exactly what follows from the months.

    :raises VerificationError: ``year-statement``, with the first member that differs.
    """
    for path, got, wanted in _differences(given, expected, "statement"):
        raise statement_error(f"{path}: {got}", f"{wanted}, as the months say")


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a JSON document of the year as it is written."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_of(content: bytes) -> str:
    """Return the hex SHA-256."""
    return sha256(content).hexdigest()


def statement_error(got: str, expected: str) -> VerificationError:
    """Return why a statement is not that of its months."""
    return VerificationError(
        "The year's statement does not follow from its months.",
        code="year-statement",
        got=got,
        expected=expected,
        action="run the year's DAG again; unless the files were changed on purpose, treat it as an incident",
    )


def _differences(given: Any, expected: Any, path: str) -> Any:
    """Yield path, got and expected of what differs; 1, 1.0 and true are three values."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for name in sorted({*given, *expected}, key=str):
            yield from _differences(given.get(name), expected.get(name), f"{path}.{name}")
        for name in given.keys() ^ expected.keys():
            yield f"{path}.{name}", "there" if name in given else "absent", "the other way round"
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for number, (one, other) in enumerate(zip(given, expected, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif type(given) is not type(expected) or given != expected:
        yield path, json.dumps(given), json.dumps(expected)
