"""The enclave's signed statement: a DSSE envelope around an in-toto Statement v1.

Sources: DSSE v1.0.2 (envelope, PAE), in-toto Attestation Framework v1; predicate: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from confidential_spark.agent import protocol
from confidential_spark.verification.evidence import result_files
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal

if TYPE_CHECKING:
    from confidential_spark.verification.attestation.runtime_data import RuntimeData

MAX_ATTESTED_BYTES = 64 * 1024
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
_PREDICATE = (
    *("v", "trust", "notice", "run_id", "nonce", "job", "month", "inputs", "rows"),
    *("image_digest", "started_at", "finished_at", "quote", "token", "runtime_data"),
)


@dataclass(frozen=True)
class Attested:
    """What the statement carries for the attestation steps."""

    token: str
    quote: bytes
    runtime_data: bytes


@dataclass(frozen=True)
class Statement:
    """An envelope's decoded payload; not trusted before :func:`require_signature`."""

    envelope: JsonObject
    payload: bytes
    members: JsonObject
    predicate: JsonObject
    attested: Attested

    @classmethod
    def decode(cls, envelope: JsonObject) -> Statement:
        """Decode the payload as far as the attestation steps need it.

        :raises VerificationError: ``statement-malformed``, ``statement-duplicate-key``.
        """
        codes = Refusal.STATEMENT_MALFORMED, Refusal.STATEMENT_DUPLICATE_KEY
        payload = envelope.under(codes[0]).base64("payload", protocol.MAX_STATEMENT_BYTES)
        members = JsonObject.parse(payload, "statement", protocol.MAX_STATEMENT_BYTES, *codes)
        predicate = members.object("predicate")
        attested = Attested(
            token=predicate.text("token", max_length=protocol.MAX_TOKEN_BYTES),
            quote=predicate.base64url("quote", MAX_ATTESTED_BYTES),
            runtime_data=predicate.base64url("runtime_data", MAX_ATTESTED_BYTES),
        )
        return cls(envelope, payload, members, predicate, attested)


@dataclass(frozen=True)
class RunRecord:
    """What a verified statement says about its run."""

    results: dict[str, str]
    arguments: tuple[str, ...]
    month: str | None
    inputs: tuple[dict[str, Any], ...]
    image_digest: str
    started_at: str
    finished_at: str


def require_signature(statement: Statement, key: ec.EllipticCurvePublicKey, thumbprint: str) -> None:
    """Accept an envelope with exactly one signature, by the attested key.

    :raises VerificationError: ``dsse-…``.
    """
    envelope = statement.envelope.under(Refusal.DSSE_MALFORMED)
    envelope.only(("payloadType", "payload", "signatures"))
    require_equal(envelope.code, envelope.text("payloadType"), protocol.PAYLOAD_TYPE)
    signatures = envelope.array("signatures")
    require_equal(Refusal.DSSE_SIGNATURE_COUNT, len(signatures), 1)
    signature = JsonObject.of(signatures[0], "signature", envelope.code).only(("sig",), optional=("keyid",))
    require_equal(Refusal.DSSE_KEYID_MISMATCH, signature.members.get("keyid", thumbprint), thumbprint)
    signed = protocol.pre_authentication_encoding(protocol.PAYLOAD_TYPE, statement.payload)
    try:
        key.verify(signature.base64("sig", 128), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        refuse(Refusal.DSSE_SIGNATURE, got="another signature", expected=f"one by key {thumbprint}")


def read_record(statement: Statement, runtime: RuntimeData) -> RunRecord:
    """Return what the statement says, when it has the documented shape and agrees with the runtime data.

    :raises VerificationError: ``statement-type``, ``-subject``, ``-predicate``, ``-mismatch``.
    """
    members = statement.members.under(Refusal.STATEMENT_TYPE)
    members.only(("_type", "subject", "predicateType", "predicate"))
    for name, expected in (("_type", protocol.STATEMENT_TYPE), ("predicateType", protocol.PREDICATE_TYPE)):
        require_equal(members.code, members.text(name), expected)
    predicate = statement.predicate.under(Refusal.STATEMENT_PREDICATE)
    predicate.only(_PREDICATE, optional=("executors",)).integer("v", 1, 1)
    arguments = _attested_arguments(predicate, runtime)
    month = predicate.optional_text("month", protocol.MONTH_PATTERN)
    for argument in arguments:
        if protocol.ABBREVIATED_MONTH.match(argument):
            refuse(Refusal.ARGUMENTS_AMBIGUOUS, got=argument, expected="--month, in full")
    given = protocol.option_values(arguments, "--month")
    if given != ([month] if month else []):
        message, expected = "The month is not the one of the attested arguments.", f"{given}"
        refuse(Refusal.STATEMENT_MISMATCH, message, got=month or "no month", expected=expected)
    return RunRecord(
        results=_subjects(statement.members.under(Refusal.STATEMENT_SUBJECT)),
        arguments=arguments,
        month=month,
        inputs=_inputs(predicate, month),
        image_digest=predicate.text("image_digest", r"sha256:[0-9a-f]{64}"),
        started_at=predicate.text("started_at", _TIME),
        finished_at=predicate.text("finished_at", _TIME),
    )


def require_times(
    record: RunRecord, issued_at: int, now: datetime, skew: timedelta, run_started_at: datetime | None = None
) -> None:
    """Accept start ≤ attestation ≤ end ≤ now, each within the allowed difference of clocks.

    :param issued_at: the token's iat, seconds since 1970.
    :param run_started_at: the caller's time before the launch; the statement's start must not be earlier.
    :raises VerificationError: ``statement-time``.
    """
    started, finished = (_moment(text) for text in (record.started_at, record.finished_at))
    issued = datetime.fromtimestamp(issued_at, UTC)
    launched = started if run_started_at is None else run_started_at.replace(microsecond=0)
    for earlier, later, order in (
        (launched, started, "launch ≤ start"),
        (started.replace(microsecond=0), issued, "start ≤ attestation"),
        (issued, finished, "attestation ≤ end"),
        (started, finished, "start ≤ end"),
        (finished, now, "end ≤ now"),
    ):
        if earlier - later > skew:
            refuse(Refusal.STATEMENT_TIME, got=f"{earlier} > {later}", expected=order)


def _subjects(members: JsonObject) -> dict[str, str]:
    results: dict[str, str] = {}
    for item in members.array("subject"):
        subject = JsonObject.of(item, "subject", members.code).only(("name", "digest"))
        name = subject.text("name", max_length=1024)
        result_files.require_safe_name(name)
        if name in results:
            refuse(members.code, "A result file is listed twice.", got=name, expected="unique names")
        results[name] = subject.object("digest").only(("sha256",)).hexadecimal("sha256", 32)
    if not results:
        refuse(members.code, "No result file is listed.", got="none", expected="at least one")
    result_files.require_distinct(results)
    return results


def _attested_arguments(predicate: JsonObject, runtime: RuntimeData) -> tuple[str, ...]:
    job = predicate.object("job").only(("name", "file_sha256", "arguments", "arguments_sha256"))
    arguments = job.array("arguments", max_items=1000)
    if not all(isinstance(argument, str) for argument in arguments):
        refuse(job.code, "An argument is not a string.", got=repr(arguments), expected="strings")
    for name, got, expected in (
        ("run_id", predicate.text("run_id"), runtime.run_id),
        ("nonce", predicate.text("nonce"), protocol.b64url(runtime.nonce)),
        ("job name", job.text("name"), runtime.job.name),
        ("job file", job.text("file_sha256"), runtime.job.file_sha256),
        ("arguments_sha256", job.text("arguments_sha256"), runtime.job.arguments_sha256),
        ("arguments", protocol.arguments_sha256(arguments), runtime.job.arguments_sha256),
    ):
        message = f"The statement's {name} is not the attested one."
        require_equal(Refusal.STATEMENT_MISMATCH, got, expected, message)
    return tuple(arguments)


def _inputs(predicate: JsonObject, month: str | None) -> tuple[dict[str, Any], ...]:
    inputs = [JsonObject.of(item, "input", predicate.code) for item in predicate.array("inputs")]
    if month and not inputs:
        message = "A month was computed, and from no input that was hashed."
        refuse(predicate.code, message, got="no inputs", expected="the month's files")
    for item in inputs:
        item.only(("uri", "bytes", "sha256")).text("uri", result_files.PLAIN_TEXT)
        item.integer("bytes")
        item.hexadecimal("sha256", 32)
    rows = predicate.object("rows").only(("input", "accepted", "rejected"))
    total, accepted, rejected = (rows.integer(name) for name in ("input", "accepted", "rejected"))
    require_equal(rows.code, accepted + rejected, total, "The row counts do not add up.")
    return tuple(dict(item.members) for item in inputs)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        refuse(Refusal.STATEMENT_PREDICATE, "A time is no date.", got=text, expected="an existing UTC time")
