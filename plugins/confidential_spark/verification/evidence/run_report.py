"""`report.json`, which the pipeline writes beside the results: what it repeats has to be the evidence's.

What it adds (checks, timings, platform) stays the pipeline's word; no verdict is about it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from confidential_spark.verification.refusals import Refusal, refuse, require_equal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confidential_spark.verification.json_object import JsonObject

# Figures that stand in `summary.json` under another name: the number of all rows.
_SUMMARY_NAMES = {"rows": "input"}


def require_agreement(report: JsonObject, facts: Mapping[str, object], summary: object) -> None:
    """Accept a report whose identity, measurement, facts and figures are those of the verified run.

    :param facts: what was proven, as JSON values, trust level and notice included.
    :param summary: the content of the verified `summary.json`.
    :raises VerificationError: ``companion-mismatch``.
    """
    names = ("run_id", "month", "image_digest", "trust", "notice")
    own = {name: report.members.get(name) for name in names} | {"job_name": report.members.get("job")}
    measured, verification = report.object("measurement"), report.object("verification")
    claims = own.items(), measured.members.items(), verification.object("facts").members.items()
    verdict = [("trust", verification.members.get("trust", facts["trust"]))]
    for name, claimed in chain(verdict, *claims):
        message = f"report.json says something else than the evidence: {name}."
        require_equal(Refusal.COMPANION_MISMATCH, claimed, facts.get(name), message)
    for name, figure in report.object("figures").members.items():
        found = [repr(value) for value in _named(summary, _SUMMARY_NAMES.get(name, name))]
        if figure is not None and repr(figure) not in found:
            message = f"report.json says something else than summary.json: {name}."
            refuse(Refusal.COMPANION_MISMATCH, message, got=repr(figure), expected=", ".join(found))


def _named(value: object, name: str) -> Iterator[object]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key == name:
                yield member
            yield from _named(member, name)
