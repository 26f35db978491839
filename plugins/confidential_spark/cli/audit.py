"""`confidential-spark audit verify`: check all months of an audit bundle. The wheel has it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from confidential_spark.audit.basis import Basis
    from confidential_spark.audit.report import BundleReport

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# By name: bundles are made in a checkout, and the wheel only verifies them.
MAKING = "confidential_spark.cli.audit_bundle"


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser("audit", help="check all months of an audit bundle, or make one")
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    verify = actions.add_parser(
        "verify",
        help="check an audit bundle",
        description="Check that every file of a bundle is its manifest's, and verify every month and year.",
        epilog="Exit status: 0 every month verified, 1 a month refused or missing, a year refused or stale, "
        "or a file wrong, 2 could not check.",
    )
    verify.set_defaults(run=_verify)
    add = verify.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="bundle.zip, or the folder that it was unpacked to")
    add("--policy", type=Path, help="which evidence is accepted (YAML)")
    add(
        "--trust-bundle",
        action="store_true",
        help="judge by the bundle's own policy, ledger, keys and programs where none is given: shows that "
        "it is consistent, and nothing about whoever made it",
    )
    add("--ledger", type=Path, metavar="FILE", help="approved measurements (default: the policy's)")
    add("--jwks", type=Path, metavar="FILE", help="the issuer's signing keys, fetched from <issuer>/certs")
    add(
        "--job-file",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="the job that must have run; repeated: one of them",
    )
    told = "SHA-256 of manifest.json, as you were told it"
    add("--manifest-sha256", type=sha256_digest, metavar="HEX", help=told)
    add("--from", dest="first", metavar="YYYY-MM", help="first month (default: the bundle's)")
    add("--to", dest="last", metavar="YYYY-MM", help="last month (default: the bundle's)")
    add("--at", metavar="ISO_TIME", help="judge what was true then (default: when each month was signed)")
    add("--json", action="store_true", help="print the report as JSON")
    if find_spec(MAKING):
        import_module(MAKING).add_action(actions)


def _verify(options: argparse.Namespace) -> int:
    # Imported late: `--help` needs no cryptography.
    import json

    from confidential_spark.cli.main import EXIT, print_verdict
    from confidential_spark.core.errors import VerificationError
    from confidential_spark.verification import Outcome

    try:
        report = verified(options)
    except VerificationError as error:
        if not error.code.startswith("audit-"):
            raise
        return print_verdict(f"REFUSED · {error}", EXIT[Outcome.REFUSED])
    text = json.dumps(report.to_dict(), indent=2) if options.json else report.text()
    return print_verdict(text, report.exit_status)


def sha256_digest(text: str) -> str:
    """Return 64 hex digits in lower case.

    :raises ValueError: there are more or less, or others.
    """
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        raise ValueError(text)
    return digest.hex()


def verified(options: argparse.Namespace) -> BundleReport:
    """Verify the bundle that the command line names.

    :raises VerificationError: ``audit-…``: the bundle is not as it was made.
    :raises ConfidentialSparkError: what the reader gave is unusable.
    """
    from confidential_spark.agent.protocol import sha256_hex
    from confidential_spark.audit.basis import completed
    from confidential_spark.audit.contents import Fault, faults, opened, read_manifest
    from confidential_spark.audit.judgement import judge_bundle
    from confidential_spark.audit.manifest import MANIFEST
    from confidential_spark.audit.months import months_between

    basis = given(options)
    if not options.trust_bundle:
        basis.accepted_policy()
    with opened(options.bundle) as contents:
        manifest, data = read_manifest(contents)
        found = faults(contents, manifest, data)
        told, digest = options.manifest_sha256, sha256_hex(data)
        if told is not None and told != digest:
            found = [Fault(code="audit-file-changed", got=f"{MANIFEST}: {digest}", expected=told), *found]
        months = months_between(options.first or manifest.first, options.last or manifest.last)
        if options.trust_bundle:
            basis = completed(basis, contents, manifest)
        return judge_bundle(contents, manifest, months, basis, found)


def given(options: argparse.Namespace) -> Basis:
    """Return what the reader gave to judge by.

    :raises ConfidentialSparkError: it is unusable.
    """
    from confidential_spark.audit.basis import Basis
    from confidential_spark.cli.main import clock, file_sha256, read_file
    from confidential_spark.verification import load_policy
    from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
    from confidential_spark.verification.policy.ledger import read_ledger

    return Basis(
        policy=load_policy(options.policy) if options.policy else None,
        jwks=read_file(options.jwks, MAX_JWKS_BYTES) if options.jwks else None,
        ledger=read_ledger(options.ledger) if options.ledger else None,
        job_digests=tuple(str(file_sha256(path)) for path in options.job_file),
        at=clock(options.at),
    )
