"""The command line: check evidence without Airflow, a database or a network."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import NONCE_BYTES
from confidential_spark.core import base64url
from confidential_spark.core.errors import ConfidentialSparkError, InputError
from confidential_spark.verification import Outcome, VerificationReport
from confidential_spark.verification.safe_files import read_regular

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT = {Outcome.VERIFIED: 0, Outcome.REFUSED: 1, Outcome.NOT_CHECKED: 2, Outcome.STALE: 3}
MAX_JOB_BYTES = 16 * 1024 * 1024
MAX_SWITCHES = 100
# By name: the verifier does without them. Auditors install `audit` and `year`; a checkout has the others.
FURTHER_COMMANDS = ("audit", "explain", "housekeeping", "index", "results", "year")


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
    add("--job-file", type=Path, metavar="FILE", help="the job that must have run (include/jobs/nytaxi.py)")
    add("--image-digest", metavar="SHA256", help="the image that the run must have named, sha256:…")
    add("--at", metavar="ISO_TIME", help="judge what was true at this time, e.g. 2026-11-23T10:00:00Z")
    add("--json", action="store_true", help="print the report as JSON")
    for further in filter(find_spec, map("confidential_spark.cli.{}".format, FURTHER_COMMANDS)):
        import_module(further).add_command(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; whatever breaks on the way is no verdict."""
    options, more = parser().parse_known_args(arguments)
    if more and not hasattr(options, "more"):
        parser().error(f"unrecognized arguments: {' '.join(more)}")
    options.more = more
    # What cryptography finds odd in a stranger's certificate is no message to the reader of a verdict.
    warnings.simplefilter("ignore")
    try:
        return int(options.run(options))
    except ConfidentialSparkError as error:
        return _not_checked(str(error))
    except Exception as error:  # a traceback ends with 1, which would say that the evidence is refused
        return _not_checked(f"the command itself failed: {type(error).__name__}: {error}")


def _verify(options: argparse.Namespace) -> int:
    try:
        report = _report(options)
    except Exception as error:
        report = VerificationReport.not_checked(str(options.policy), error)
    text = json.dumps(report.to_dict(), indent=2) if options.json else report.text()
    return print_verdict(text, EXIT[report.outcome])


def print_verdict(text: str, status: int) -> int:
    """Print a report and return its status: a verdict on a full disk or in a closed pipe is none."""
    if sys.stdout is None:
        return _not_checked("standard output is closed")
    try:
        # A terminal that cannot show a character must not turn a verdict into a crash.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        print(text, flush=True)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # Python flushes again at its end, and would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _not_checked(f"the report could not be written: {error}")
    return status


def _not_checked(why: str) -> int:
    with suppress(OSError, ValueError):
        print(f"NOT CHECKED · {why}", file=sys.stderr, flush=True)
    return EXIT[Outcome.NOT_CHECKED]


def _report(options: argparse.Namespace) -> VerificationReport:
    # Imported late, so that --help and usage errors need no cryptography.
    from confidential_spark.verification import load_policy, verify_evidence
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES

    # A published month is replaced by switching a link: what follows is all of the version it leads to now.
    evidence, folder = _resolve_together(options.evidence, options.results or options.evidence.parent)
    return verify_evidence(
        policy=load_policy(options.policy),
        evidence=read_file(evidence, MAX_EVIDENCE_BYTES),
        results=_require_folder(folder),
        jwks=None if options.jwks is None else read_file(options.jwks, MAX_JWKS_BYTES),
        now=clock(options.at) or datetime.now(UTC),
        expected_nonce=_nonce(options.nonce),
        expected_run_id=options.run_id,
        expected_image_digest=options.image_digest,
        expected_month=options.month,
        expected_job_file_sha256=file_sha256(options.job_file),
        ledger=options.ledger,
    )


def file_sha256(path: Path | None) -> str | None:
    """Return the hex SHA-256 of a job's file.

    :raises InputError: ``file-unreadable``.
    """
    if path is None:
        return None
    content = read_file(path, MAX_JOB_BYTES)
    if len(content) > MAX_JOB_BYTES:
        raise _unusable("file-unreadable", "The job file is too large.", f"{path}", f"{MAX_JOB_BYTES} bytes")
    return sha256(content).hexdigest()


def read_file(path: Path, limit: int) -> bytes:
    """Return what stands in a file, at most one byte more than ``limit``.

    :raises InputError: ``file-unreadable``.
    """
    try:
        return read_regular(path, limit)
    except (OSError, ValueError) as error:
        got, expected = f"{path}: {error}", "a readable regular file"
        raise _unusable("file-unreadable", "A file cannot be read.", got, expected) from error


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
    if not folder.is_dir():
        message = "The folder of the result files is not there."
        raise _unusable("results-unreadable", message, str(folder), "a folder (--results)")
    return folder


def clock(text: str | None) -> datetime | None:
    """Return the time to judge at, where one is given.

    :raises InputError: ``time-malformed``.
    """
    if text is None:
        return None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.utcoffset() is not None:
            return moment
    expected = "ISO 8601 with a zone, e.g. 2026-11-23T10:00:00Z"
    raise _unusable("time-malformed", "The time is malformed (--at).", text, expected)


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    with suppress(ValueError):
        nonce = bytes.fromhex(text) if len(text) == 64 else base64url.decode(text)
        if len(nonce) == NONCE_BYTES:
            return nonce
    expected = "32 bytes: 64 hex digits, or 43 characters of base64url"
    raise _unusable("nonce-malformed", "The nonce is malformed.", text, expected)


def _unusable(code: str, message: str, got: str, expected: str) -> InputError:
    return InputError(message, code=code, got=got, expected=expected, action="correct the command line")
