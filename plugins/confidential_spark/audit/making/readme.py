"""What a bundle says of itself to somebody who has never heard of this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark import __version__
from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_SIMULATED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confidential_spark.audit.manifest import MonthEntry
    from confidential_spark.verification import Policy

HERE = Path(__file__).parent
SCRIPT_TEXT = (HERE / "verify-all.sh").read_text(encoding="utf-8")
TEXT = (HERE / "readme.txt").read_text(encoding="utf-8")
SIMULATED = (
    f"**{SIMULATED_NOTICE}.** Everything in this bundle was made in a simulation of enclaves. Anyone can\n"
    "compute the keys behind it, so anyone could have made it. It shows how such a bundle is verified, and "
    "nothing else."
)
HARDWARE = (
    "The operator's policy accepts evidence of SGX processors only. Whether this is such evidence is for "
    "your verification to say."
)


def readme(
    job: str,
    platform: str,
    policy: Policy,
    months: Mapping[str, MonthEntry],
    years: Mapping[str, MonthEntry],
) -> str:
    """Return the README.

    :param months: what was found, by month, in order.
    :param years: what was found of each year of which all months are in the range.
    """
    first, *_ = months
    *_, last = months
    simulated = policy.trust == TRUST_SIMULATED
    pinned = policy.attestation.token_signing_keys is not None
    return TEXT.format(
        job=job,
        platform=platform,
        first=first,
        last=last,
        version=__version__,
        banner=SIMULATED if simulated else HARDWARE,
        months=_month_list(months),
        years=_year_list(years),
        keys="The policy in the bundle pins the provider's signing keys."
        if pinned
        else "A policy that pins no signing keys needs `--jwks`: "
        f"fetch `{policy.attestation.issuer}/certs`.\nKeys of older months may be gone there; "
        "those in `keys/` are the operator's word until you compare them.",
        sums="`sha256sum --check manifest.sha256` compares the manifest alone.",
        trust=f"{SIMULATED_NOTICE}: nothing about where it was computed."
        if simulated
        else "The quote of an SGX processor, with a chain to Intel's root, says that the enclave ran on real "
        "hardware.",
    )


def _year_list(years: Mapping[str, MonthEntry]) -> str:
    if not years:
        return ""
    lines = ["", "| year | found | why |", "| --- | --- | --- |"]
    for year, entry in years.items():
        lines.append(f"| {year} | {entry.found} | {f'`{entry.reason}`' if entry.reason else ''} |")
    told = "A year is the sum of its months, computed outside of any enclave; the command adds them up again."
    return "\n".join([*lines, "", told, ""])


def _month_list(months: Mapping[str, MonthEntry]) -> str:
    lines = ["| month | found | why |", "| --- | --- | --- |"]
    for month, entry in months.items():
        why = f"`{entry.reason}`" if entry.reason else ""
        if entry.left_out:
            why = f"{why} {entry.left_out} files beside the results are left out: nothing vouches for them"
        lines.append(f"| {month} | {entry.found} | {why.strip()} |")
    verified = sum(entry.found == "VERIFIED" for entry in months.values())
    others = [f"{month} ({entry.found})" for month, entry in months.items() if entry.found != "VERIFIED"]
    named = f"**Not verified: {', '.join(others)}.**" if others else "None is missing."
    return "\n".join([f"{verified} of {len(months)} months VERIFIED. {named}", "", *lines])
