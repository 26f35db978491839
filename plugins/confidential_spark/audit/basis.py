"""By what the months of a bundle are judged: what the reader gave, and on request what the bundle brings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from confidential_spark.audit.contents import read
from confidential_spark.audit.manifest import POLICY_FOLDER
from confidential_spark.core.errors import InputError
from confidential_spark.verification import load_policy
from confidential_spark.verification.policy.ledger import parse_ledger

if TYPE_CHECKING:
    from datetime import datetime

    from confidential_spark.audit.contents import Contents
    from confidential_spark.audit.manifest import Manifest
    from confidential_spark.verification import Policy
    from confidential_spark.verification.policy.ledger import Ledger


@dataclass(frozen=True)
class Basis:
    """What months are judged by; docs/verification.md has the rules.

    :param policy: None only until :func:`completed`.
    :param jwks: the attestation provider's signing keys; None where the policy pins them.
    :param ledger: None: the policy's own.
    :param job_digests: SHA-256 of each program that may have run; none: not compared.
    :param at: None: each month when its enclave signed, because tokens expire within hours.
    :param from_bundle: what of this the bundle itself brought.
    """

    policy: Policy | None = None
    jwks: bytes | None = None
    ledger: Ledger | None = None
    job_digests: tuple[str, ...] = ()
    at: datetime | None = None
    from_bundle: tuple[str, ...] = ()

    def accepted_policy(self) -> Policy:
        """Return the policy.

        :raises InputError: ``audit-policy-missing``.
        """
        if self.policy is None:
            raise InputError(
                "Nothing says which evidence is accepted.",
                code="audit-policy-missing",
                got="neither --policy nor --trust-bundle",
                expected="--policy with a policy that you trust",
                action="give one; --trust-bundle judges by the bundle's own, which proves nothing about its "
                "maker",
            )
        return self.policy


def completed(given: Basis, contents: Contents, manifest: Manifest) -> Basis:
    """Return what was given, with the bundle's own in place of what was not.

    :raises PolicyError: the bundle's policy is unusable.
    :raises VerificationError: ``ledger-…``, ``audit-bundle-malformed``.
    """
    brought: list[str] = []
    basis = given
    if basis.policy is None:
        brought.append("policy")
        with contents.folder(POLICY_FOLDER) as folder:
            path = folder / manifest.policy.removeprefix(f"{POLICY_FOLDER}/")
            basis = replace(basis, policy=load_policy(path))
    policy = basis.accepted_policy()
    if basis.ledger is None and manifest.ledger and policy.identities.needs_ledger:
        brought.append("ledger")
        basis = replace(basis, ledger=parse_ledger(read(contents, manifest.ledger)))
    if basis.jwks is None and manifest.keys and policy.attestation.token_signing_keys is None:
        brought.append("signing keys")
        basis = replace(basis, jwks=read(contents, manifest.keys))
    if not basis.job_digests and manifest.job_files:
        brought.append("programs")
        basis = replace(basis, job_digests=tuple(manifest.files[name].sha256 for name in manifest.job_files))
    return replace(basis, from_bundle=tuple(brought))
