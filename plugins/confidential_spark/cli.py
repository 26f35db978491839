"""The command line: check evidence without Airflow, a database or a network."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from contextlib import suppress
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
    """Run a command and return its exit status; whatever breaks on the way is no verdict."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except Exception as error:  # a traceback ends with 1, which would say that the evidence is refused
        _complain(f"NOT CHECKED · the command itself failed: {type(error).__name__}: {error}")
        return EXIT_NOT_CHECKED


def _verify(options: argparse.Namespace) -> int:
    # Imported late, so that --help and usage errors need no cryptography.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.verification import Outcome, VerificationReport

    # What cryptography finds odd in a stranger's certificate is no message to the reader of a verdict.
    warnings.simplefilter("ignore")
    try:
        report = _report(options)
    except ConfidentialSparkError as error:
        report = VerificationReport.not_checked(str(options.policy), error)
    except Exception as error:
        report = VerificationReport.not_checked(str(options.policy), _crashed(error))
    if not _print(json.dumps(report.to_dict(), indent=2) if options.json else report.text()):
        return EXIT_NOT_CHECKED
    status = {Outcome.VERIFIED: EXIT_VERIFIED, Outcome.REFUSED: EXIT_REFUSED}
    return status.get(report.outcome, EXIT_NOT_CHECKED)


def _print(text: str) -> bool:
    """Print a report and say whether it arrived: a verdict on a full disk or in a closed pipe is none."""
    if sys.stdout is None:
        return _complain("NOT CHECKED · standard output is closed")
    try:
        # A terminal that cannot show a character must not turn a verdict into a crash.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        print(text, flush=True)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # Python flushes again at its end, and would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"NOT CHECKED · the report could not be written: {error}")
    return True


def _complain(text: str) -> bool:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
    return False


def _crashed(error: Exception) -> ConfidentialSparkError:
    from confidential_spark.core.errors import VerificationError
    from confidential_spark.verification.refusals import Refusal

    got, expected = f"{type(error).__name__}: {error}", "an input that the command can handle"
    message = "The command itself failed."
    return VerificationError(message, code=Refusal.CHECK_CRASHED.value, got=got, expected=expected)


def _report(options: argparse.Namespace) -> VerificationReport:
    from confidential_spark.verification import load_policy, verify_evidence
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES

    policy = load_policy(options.policy)
    return verify_evidence(
        evidence=_read(options.evidence, MAX_EVIDENCE_BYTES),
        results=_results_folder(options),
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

    if path is None:
        return None
    content = _read(path, MAX_JOB_BYTES)
    if len(content) > MAX_JOB_BYTES:
        raise _unusable("file-unreadable", "The job file is too large.", f"{path}", f"{MAX_JOB_BYTES} bytes")
    return sha256(content).hexdigest()


def _read(path: Path, limit: int) -> bytes:
    from confidential_spark.verification.safe_files import read_regular

    try:
        return read_regular(path, limit)
    except (OSError, ValueError) as error:
        got, expected = f"{path}: {error}", "a readable regular file"
        raise _unusable("file-unreadable", "A file cannot be read.", got, expected) from error


def _results_folder(options: argparse.Namespace) -> Path:
    folder: Path = options.results or options.evidence.parent
    if not folder.is_dir():
        message = "The folder of the result files is not there."
        raise _unusable("results-unreadable", message, str(folder), "a folder (--results)")
    return folder


def _clock(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        expected = "ISO 8601 with a zone, e.g. 2026-11-23T10:00:00Z"
        raise _unusable("time-malformed", "The time is malformed (--at).", text, expected)
    return moment


def _nonce(text: str | None) -> bytes | None:
    from confidential_spark.core import base64url

    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text) if len(text) == 64 else base64url.decode(text)
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        expected = "32 bytes: 64 hex digits, or 43 characters of base64url"
        raise _unusable("nonce-malformed", "The nonce is malformed.", text, expected)
    return nonce


def _unusable(code: str, message: str, got: str, expected: str) -> ConfidentialSparkError:
    from confidential_spark.core.errors import InputError

    return InputError(message, code=code, got=got, expected=expected, action="correct the command line")
