"""Policies: which evidence is accepted. Written in YAML, validated strictly, immutable afterwards.

An unknown key, a wrong type or an empty allow-list makes the whole policy unusable: a policy that is not
understood in full must not let anything through.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from confidential_spark.agent.protocol import TRUST_HARDWARE, sha256_hex
from confidential_spark.core import base64url, strict_yaml
from confidential_spark.core.errors import PolicyError, shorten
from confidential_spark.verification.policy import root_certificates as anchors
from confidential_spark.verification.refusals import Refusal, refuse
from confidential_spark.verification.safe_files import read_regular

# Occlum's public development key signs every enclave built without an own key: anyone can be this signer.
OCCLUM_DEVELOPMENT_MRSIGNER = "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e"
LEDGER = "ledger"
MAX_SKEW = timedelta(minutes=10)
MAX_TOKEN_LIFETIME = timedelta(hours=8)
_MAX_PORT = 65535

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# RFC 6761: names that never exist, and the machine itself. A numeric last label makes an IPv4 address.
_RESERVED_DOMAINS = frozenset({"invalid", "localhost"})
_NUMERIC = r"[0-9]+|0x[0-9a-f]*"
_ISSUER = r"(https://[a-z0-9-]+(\.[a-z0-9-]+)*|http://(127\.0\.0\.1|localhost))(:(?P<port>[1-9][0-9]{0,4}))?"


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value
    match = re.fullmatch(r"(0|[1-9][0-9]{0,4})([smhd])", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a string such as 90s, 15m, 8h or 30d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _array(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _measurements(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of measurements")
    for item in value:
        if not isinstance(item, str) or re.fullmatch(r"[0-9a-f]{64}", item, re.ASCII) is None:
            raise ValueError(f"a measurement is 64 lower-case hex digits, not {str(item)[:80]!r}")
    return tuple(value)


def _allowed_measurements(value: object) -> str | tuple[str, ...]:
    if value == LEDGER:
        return LEDGER
    if value in ([], ()):
        raise ValueError("an empty allow-list would refuse everything; name at least one measurement")
    return _measurements(value)


def _policy_hash(value: object) -> str:
    if not isinstance(value, str) or len(base64url.decode(value)) != 32:
        raise ValueError("a policy hash is the base64url of 32 bytes, as in x-ms-policy-hash")
    return value


Duration = Annotated[timedelta, PlainValidator(_duration)]
Measurements = Annotated[tuple[str, ...], PlainValidator(_measurements)]
AllowedMeasurements = Annotated[str | tuple[str, ...], PlainValidator(_allowed_measurements)]
PolicyHash = Annotated[str, PlainValidator(_policy_hash)]
UInt16 = Annotated[int, Field(ge=0, le=0xFFFF)]
UInt32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
TcbStatus = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ConfigId = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Advisory = Annotated[str, Field(pattern=r"^INTEL-SA-[0-9]{5}$")]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", arbitrary_types_allowed=True)


class AttestationPolicy(_Section):
    """Who may issue tokens, and how fresh they must be."""

    issuer: Annotated[str, Field(max_length=255)]
    token_signing_keys: (
        Annotated[tuple[Fingerprint, ...], Field(min_length=1), BeforeValidator(_array)] | None
    ) = None
    policy_hash: PolicyHash | None = None
    max_token_lifetime: Duration = MAX_TOKEN_LIFETIME
    max_token_age: Duration | None = None
    clock_skew: Duration = timedelta(0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        match = re.fullmatch(_ISSUER, self.issuer)
        if match is None or int(match["port"] or 0) > _MAX_PORT:
            raise ValueError(f"issuer must be https://host without a path, got {self.issuer!r}")
        if not timedelta(0) < self.max_token_lifetime <= MAX_TOKEN_LIFETIME:
            raise ValueError("max_token_lifetime must be between 1s and 8h")
        if self.clock_skew > MAX_SKEW:
            raise ValueError("clock_skew must be at most 10m")
        return self

    @property
    def is_reserved(self) -> bool:
        """Whether the issuer can only be a simulation: a name that never exists, loopback, or a number."""
        top_level = (urlsplit(self.issuer).hostname or "").rpartition(".")[2]
        return top_level in _RESERVED_DOMAINS or re.fullmatch(_NUMERIC, top_level) is not None


class AllowedIdentities(_Section):
    """Measurements that are accepted, or ``ledger``, and measurements that never are."""

    allow: AllowedMeasurements
    deny: Measurements = ()


class AllowedProducts(_Section):
    """Product ids that are accepted."""

    allow: Annotated[tuple[UInt16, ...], Field(min_length=1), BeforeValidator(_array)]


class AllowedConfigurations(_Section):
    """CONFIGIDs that are accepted, 64 bytes in hex each; without key separation (KSS) it is zero."""

    allow: Annotated[tuple[ConfigId, ...], Field(min_length=1), BeforeValidator(_array)]


class AllowedMiscSelect(_Section):
    """MISCSELECT values that are accepted: 1 reports page faults to the enclave (EXINFO)."""

    allow: Annotated[tuple[UInt32, ...], Field(min_length=1), BeforeValidator(_array)]


class MinimumVersion(_Section):
    """The lowest accepted security version (ISV SVN)."""

    minimum: UInt16


class IdentityPolicy(_Section):
    """Which enclaves are accepted."""

    mrenclave: AllowedIdentities
    mrsigner: AllowedIdentities
    product_id: AllowedProducts
    svn: MinimumVersion
    config_id: AllowedConfigurations = AllowedConfigurations(allow=("00" * 64,))
    misc_select: AllowedMiscSelect = AllowedMiscSelect(allow=(0,))

    @property
    def needs_ledger(self) -> bool:
        """Whether approvals are read from the ledger."""
        return LEDGER in (self.mrenclave.allow, self.mrsigner.allow)


class DcapPolicy(_Section):
    """Which platforms are accepted, judged by the quote alone."""

    roots: Annotated[tuple[anchors.RootCertificate, ...], Field(min_length=1), BeforeValidator(_array)]
    accepted_tcb_statuses: Annotated[tuple[TcbStatus, ...], Field(min_length=1), BeforeValidator(_array)]
    accepted_advisories: Annotated[tuple[Advisory, ...], BeforeValidator(_array)] = ()
    max_collateral_age: Duration
    min_tcb_evaluation_data_number: Annotated[int, Field(ge=0, le=100_000)] = 0
    allow_dynamic_platform: bool = False
    allow_cached_keys: bool = False
    allow_smt: bool = False


class Policy(_Section):
    """One complete policy; make it with :func:`load_policy` or :meth:`from_mapping`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=2**31)]
    trust: Literal["hardware", "simulated"]
    attestation: AttestationPolicy
    identities: IdentityPolicy
    dcap: DcapPolicy
    ledger: Path | None = None
    _sha256: str | None = PrivateAttr(None)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], *, base: Path | None = None, source: str = "policy"
    ) -> Policy:
        """Make a policy of plain values, as they stand in the YAML file.

        :param base: folder that relative paths (roots, ledger) start from; without it roots are given inline,
            as PEM text or DER bytes, and the ledger as an absolute path.
        :param source: the policy's name in messages.
        :raises PolicyError: ``policy-invalid`` naming each wrong field, or ``policy-root-unreadable``.
        """
        try:
            return cls.model_validate(_with_files(mapping, base))
        except ValidationError as error:
            raise _readable(error, source) from error
        except PolicyError:
            raise
        except Exception as error:
            raise _unusable("invalid", f"{source}: {error}", type(mapping).__name__, "a mapping") from error

    @model_validator(mode="after")
    def _keep_simulation_apart(self) -> Self:
        if self.trust != TRUST_HARDWARE:
            return self
        wrong = "a hardware policy must not trust the"
        if any(r.spki_sha256 == anchors.DEVELOPMENT_ROOT_SPKI_SHA256 or r.simulated for r in self.dcap.roots):
            raise ValueError(f"{wrong} development root: anyone can sign with its key")
        if self.attestation.is_reserved:
            raise ValueError(f"{wrong} simulated issuer {self.attestation.issuer}")
        return self

    @property
    def sha256(self) -> str | None:
        """SHA-256 (hex) of the YAML that the policy was read from; None for plain values."""
        return self._sha256

    @property
    def accepted_roots(self) -> tuple[anchors.RootCertificate, ...]:
        """The roots that a quote's chain may end in: of a hardware policy's, only Intel's."""
        intel = tuple(root for root in self.dcap.roots if root.spki_sha256 == anchors.INTEL_ROOT_SPKI_SHA256)
        return intel if self.trust == TRUST_HARDWARE else self.dcap.roots

    @property
    def label(self) -> str:
        """Name, version and trust level, for reports."""
        return f"{self.name} (version {self.version}, {self.trust})"

    @property
    def approvals_path(self) -> Path:
        """The file of approvals that the policy names.

        :raises VerificationError: ``ledger-missing`` when it names none.
        """
        if self.ledger is None:
            action = "give the ledger of approved measurements (--ledger)"
            refuse(Refusal.LEDGER_MISSING, got="nothing", expected="a file of approvals", action=action)
        return self.ledger

    @property
    def denied_mrsigners(self) -> tuple[str, ...]:
        """Signers that are refused whatever the allow-list says."""
        always = (OCCLUM_DEVELOPMENT_MRSIGNER,) if self.trust == TRUST_HARDWARE else ()
        return (*always, *self.identities.mrsigner.deny)


def load_policy(path: Path) -> Policy:
    """Read a policy file; relative paths in it start from its folder.

    :raises PolicyError: ``policy-unreadable``, ``policy-malformed``, ``policy-invalid``,
        ``policy-root-unreadable``.
    """
    try:
        data = read_regular(path, strict_yaml.MAX_BYTES)
    except (OSError, ValueError) as error:
        action = "give the path of a policy, e.g. include/policies/production.yaml"
        message, expected = "The policy file cannot be read.", "a readable YAML file"
        raise _unusable("unreadable", message, str(error), expected, action) from error
    return parse_policy(data, base=path.resolve().parent, source=path.name)


def parse_policy(data: bytes, *, base: Path | None = None, source: str = "policy") -> Policy:
    """Read a policy from YAML bytes; see :meth:`Policy.from_mapping`.

    :raises PolicyError: ``policy-malformed``, ``policy-invalid``, ``policy-root-unreadable``.
    """
    try:
        value = strict_yaml.loads(data)
    except ValueError as error:
        message = f"{source} is not a policy: it is not plain YAML."
        raise _unusable("malformed", message, str(error), "plain YAML") from error
    policy = Policy.from_mapping(value, base=base, source=source)
    policy._sha256 = sha256_hex(data)
    return policy


def as_policy(policy: Policy | Mapping[str, Any] | str | bytes | os.PathLike[str]) -> Policy:
    """Return a policy from whatever a caller has: a policy, plain values, YAML bytes or a path.

    :raises PolicyError: as :func:`load_policy`.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Mapping):
        return Policy.from_mapping(policy)
    if isinstance(policy, bytes):
        return parse_policy(policy)
    if isinstance(policy, (str, os.PathLike)):
        return load_policy(Path(policy))
    expected = "Policy, mapping, YAML bytes or a path"
    raise _unusable("invalid", "The policy has the wrong type.", type(policy).__name__, expected)


def _with_files(mapping: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    policy = dict(mapping)
    dcap = policy.get("dcap")
    if isinstance(dcap, Mapping) and isinstance(dcap.get("roots"), (list, tuple)):
        policy["dcap"] = {**dcap, "roots": [anchors.read_root(root, base) for root in dcap["roots"]]}
    ledger = policy.get("ledger")
    if isinstance(ledger, str):
        policy["ledger"] = (base or Path()) / ledger
    return policy


def _shown(value: object) -> str:
    try:
        return shorten(value, 120)
    except Exception as error:  # Python refuses to print integers of thousands of digits
        return f"{type(value).__name__} that cannot be shown: {error}"


def _readable(error: ValidationError, source: str) -> PolicyError:
    problems = [
        (".".join(map(str, problem["loc"])) or "policy", problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_url=False)
    ]
    lines = "; ".join(f"{place}: {message}" for place, message in problems[:10])
    first, (place, expected) = error.errors()[0], problems[0]
    # pydantic's input for an absent or contradictory field is all that surrounds it.
    got = f"{place} = {_shown(first['input'])}"
    if first["type"] == "missing":
        got = f"no {place}"
    elif first["type"] == "value_error" and isinstance(first["input"], Mapping):
        got = f"{place} as a whole"
    action = "docs/verification.md describes every field"
    return _unusable("invalid", f"{source} is not a valid policy: {lines}", got, expected, action)


def _unusable(kind: str, message: str, got: object, expected: str, action: str | None = None) -> PolicyError:
    return PolicyError(message, code=f"policy-{kind}", got=got, expected=expected, action=action)
