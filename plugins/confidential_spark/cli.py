"""The command line: check evidence without Airflow, a database or a network."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.verification import VerificationReport

EXIT_VERIFIED = 0
EXIT_REFUSED = 1
EXIT_NOT_CHECKED = 2
MAX_JOB_BYTES = 16 * 1024 * 1024
MAX_SWITCHES = 100


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m confidential_spark", description=__doc__)
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="check a run's evidence and results",
        description="Check a run's evidence and results, step by step.",
        epilog="Exit status: 0 verified, 1 refused, 2 could not check.",
    )
    verify.set_defaults(run=_verify)
    add = verify.add_argument
    add("evidence", type=Path, metavar="EVIDENCE", help="the run's evidence.json")
    add("--policy", type=Path, required=True, help="which evidence is accepted (YAML)")
    add("--results", type=Path, metavar="DIR", help="folder of the result files (default: EVIDENCE's folder)")
    add("--jwks", type=Path, metavar="FILE", help="the issuer's signing keys, fetched from <issuer>/certs")
    add("--ledger", type=Path, metavar="FILE", help="approved measurements (default: the policy's)")
    add("--nonce", metavar="HEX_OR_B64URL", help="the nonce that the run was given")
    add("--run-id", metavar="ID", help="the run that the evidence must belong to")
    add("--month", metavar="YYYY-MM", help="the month that the results must be about")
    add(
        "--job-file",
        type=Path,
        metavar="FILE",
        help="the job that must have run, e.g. include/jobs/nytaxi.py",
    )
    add("--image-digest", metavar="SHA256", help="the image that the run must have named, sha256:…")
    add("--at", metavar="ISO_TIME", help="judge what was true at this time, e.g. 2026-11-23T10:00:00Z")
    add("--json", action="store_true", help="print the report as JSON")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not turn a verdict into a crash.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    return int(options.run(options))


def _verify(options: argparse.Namespace) -> int:
    # Imported late, so that --help and usage errors need no cryptography.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.verification import Outcome, VerificationReport

    try:
        report = _report(options)
    except ConfidentialSparkError as error:
        report = VerificationReport.not_checked(str(options.policy), error)
    except Exception as error:  # a traceback ends with 1, which would say that the evidence is refused
        report = VerificationReport.not_checked(str(options.policy), _crashed(error))
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.text())
    return {
        Outcome.VERIFIED: EXIT_VERIFIED,
        Outcome.REFUSED: EXIT_REFUSED,
        Outcome.NOT_CHECKED: EXIT_NOT_CHECKED,
    }[report.outcome]


def _crashed(error: Exception) -> ConfidentialSparkError:
    from confidential_spark.core.errors import VerificationError
    from confidential_spark.verification.refusals import Refusal

    return VerificationError(
        "The command itself failed.",
        code=Refusal.CHECK_CRASHED.value,
        got=f"{type(error).__name__}: {error}",
        expected="an input that the command can handle",
    )


def _report(options: argparse.Namespace) -> VerificationReport:
    from confidential_spark.verification import load_policy, verify_evidence
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES

    policy = load_policy(options.policy)
    # A published month is replaced by switching a link: what follows is all of the version it leads to now.
    evidence, folder = _resolve_together(options.evidence, options.results or options.evidence.parent)
    return verify_evidence(
        evidence=_read(evidence, MAX_EVIDENCE_BYTES),
        results=_require_folder(folder),
        jwks=None if options.jwks is None else _read(options.jwks, MAX_JWKS_BYTES),
        policy=policy,
        now=_clock(options.at),
        expected_nonce=_nonce(options.nonce),
        expected_run_id=options.run_id,
        expected_image_digest=options.image_digest,
        expected_month=options.month,
        expected_job_file_sha256=_sha256(options.job_file),
        ledger=options.ledger,
    )


def _sha256(path: Path | None) -> str | None:
    from hashlib import sha256

    return None if path is None else sha256(_read(path, MAX_JOB_BYTES)).hexdigest()


def _read(path: Path, limit: int) -> bytes:
    from confidential_spark.core.errors import InputError

    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            "A file cannot be read.",
            code="file-unreadable",
            got=f"{path}: {error}",
            expected="a readable file",
            action="correct the path",
        ) from error


def _resolve_together(*paths: Path) -> list[Path]:
    """Return the paths without links, all as they were at one moment."""
    resolved = [_resolve(path) for path in paths]
    for _ in range(MAX_SWITCHES):
        before, resolved = resolved, [_resolve(path) for path in paths]
        if resolved == before:
            break
    return resolved


def _resolve(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a name that no file can have: reading it says so
        return path


def _require_folder(folder: Path) -> Path:
    from confidential_spark.core.errors import InputError

    if not folder.is_dir():
        raise InputError(
            "The folder of the result files is not there.",
            code="results-unreadable",
            got=str(folder),
            expected="a folder",
            action="give the folder of the result files (--results)",
        )
    return folder


def _clock(text: str | None) -> datetime:
    from confidential_spark.core.errors import InputError

    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InputError(
            "That is not a time.",
            code="time-malformed",
            got=text,
            expected="ISO 8601 with a zone, e.g. 2026-11-23T10:00:00Z",
        )
    return moment


def _nonce(text: str | None) -> bytes | None:
    from confidential_spark.core import base64url
    from confidential_spark.core.errors import InputError

    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text) if len(text) == 64 else base64url.decode(text)
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        raise InputError(
            "That is not a nonce.",
            code="nonce-malformed",
            got=text,
            expected="32 bytes: 64 hex digits, or 43 characters of base64url",
        )
    return nonce
