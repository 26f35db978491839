"""Steps 1 to 10: token, quote and runtime data. The order is that of docs/verification.md."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.agent import protocol
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.attestation import maa_token as tokens
from confidential_spark.verification.attestation import signing_keys as key_set
from confidential_spark.verification.attestation.collateral import MAX_COLLATERAL_BYTES
from confidential_spark.verification.attestation.dcap import verify_quote
from confidential_spark.verification.attestation.identity import (
    EnclaveClaims,
    require_attributes,
    require_identity,
)
from confidential_spark.verification.attestation.runtime_data import RuntimeData, require_nonce, require_run
from confidential_spark.verification.attestation.sgx_quote import ReportBody
from confidential_spark.verification.context import Context, json_text, require_bytes
from confidential_spark.verification.refusals import Refusal, refuse, require_equal, require_size
from confidential_spark.verification.report import NOT_COMPARED, Check, Step

if TYPE_CHECKING:
    from confidential_spark.verification.json_object import JsonObject

# Claims of enclaves with key separation and sharing (KSS); compared with the quote when the token has them.
_KSS_CLAIMS = {
    "x-ms-sgx-config-id": "config_id",
    "x-ms-sgx-isv-extended-product-id": "isv_extended_product_id",
    "x-ms-sgx-isv-family-id": "isv_family_id",
}


class AttestationSteps:
    """Judges one token with its quote and runtime data; each step relies on those before it."""

    token: tokens.Token
    kid: str
    times: tokens.TokenTimes
    enclave: EnclaveClaims
    report: ReportBody
    runtime: RuntimeData
    collateral_json: str | bytes

    def __init__(self, context: Context, *, jwks: object, collateral: object) -> None:
        """Judge against ``context``; token, quote and runtime data come with :meth:`take`."""
        self.context = context
        self.jwks = jwks
        self.collateral = collateral
        self.own_keys = False  # whether the key set is the evidence's, so that its faults are, too
        self.quote = b""
        self.runtime_data = b""

    @cached_property
    def trusted_jwks(self) -> str | bytes:
        """The key set as JSON text.

        :raises VerificationError: ``input-…``, ``jwks-malformed``.
        """
        return json_text(self.jwks, "key set", Refusal.JWKS_MALFORMED, key_set.MAX_JWKS_BYTES)

    def checks(self) -> list[Check]:
        """Return steps 2 to 10 in order."""
        of_token = (self.header, self.signature, self.time, self.kind, self.identity)
        of_enclave = (self.binding, self.quote_match, self.dcap, self.runtime_data_content)
        return list(zip(list(Step)[2:11], (*of_token, *of_enclave), strict=True))

    def prepare(self) -> str:
        """Step 0: accept usable arguments.

        :raises ConfidentialSparkError: as :meth:`Context.prepare`, and ``jwks-malformed``, ``input-…``.
        """
        label = self.context.prepare()
        _ = self.trusted_jwks
        return label

    def decode_inputs(self, token: object, quote: object, runtime_data: object) -> str:
        """Step 1: accept inputs of acceptable type and size, and decode the token.

        :raises VerificationError: ``input-…``, ``token-malformed``, ``token-duplicate-key``.
        """
        self.quote = require_bytes(quote, "quote", protocol.MAX_QUOTE_BYTES)
        self.runtime_data = require_bytes(runtime_data, "runtime data", protocol.MAX_RUNTIME_DATA_BYTES)
        malformed = Refusal.COLLATERAL_MALFORMED
        self.collateral_json = json_text(self.collateral, "collateral", malformed, MAX_COLLATERAL_BYTES)
        self.token = tokens.Token.decode(_token_text(token))
        return f"token {len(self.token.signing_input)} bytes, quote {len(self.quote)} bytes"

    def header(self) -> str:
        """Step 2: accept the token's header."""
        self.kid = tokens.require_header(self.token.header, self.context.policy.attestation.issuer)
        return f"RS256, key {self.kid}"

    def signature(self) -> str:
        """Step 3: verify the token's signature."""
        try:
            key = key_set.signing_key(self.trusted_jwks, self.kid)
        except VerificationError as error:
            if not self.own_keys:
                raise
            refuse(Refusal.KEY_NOT_PINNED, error.message, got=error.got, expected=error.expected)
        pins = self.context.policy.attestation.token_signing_keys
        key_set.require_pinned(key, pins)
        key_set.require_signature(self.token, key)
        self.context.facts |= {"key_id": self.kid}
        pinned = "pinned by the policy" if pins else "of the given key set"
        return f"RSA-{key.key_size}, SHA-256 {key_set.fingerprint(key)}, {pinned}"

    def time(self) -> str:
        """Step 4: accept issuer and times, and a token id that was not seen before."""
        policy, expected = self.context.policy.attestation, self.context.expectations
        tokens.require_issuer(self.token.claims, policy.issuer)
        self.times = tokens.TokenTimes.of(self.token.claims)
        tokens.require_times(self.times, policy, int(self.context.now.timestamp()))
        if expected.run_started_at is not None:
            tokens.require_issued_after(self.times, expected.run_started_at, policy)
        token_id = self.token.claims.members.get("jti")
        if isinstance(token_id, str) and token_id in expected.seen_token_ids:
            refuse(Refusal.TOKEN_REPLAYED, got=token_id, expected="an unused token id")
        issued, expires = map(tokens.utc_text, (self.times.issued_at, self.times.expires_at))
        self.context.facts |= {"issuer": policy.issuer, "issued_at": issued, "expires_at": expires}
        started = "after the run started" if expected.run_started_at else f"run start {NOT_COMPARED}"
        return f"issued {issued}, expires {expires}, {started}"

    def kind(self) -> str:
        """Step 5: accept an SGX attestation."""
        policy_hash = self.context.policy.attestation.policy_hash
        token_id = tokens.require_kind(self.token.claims, policy_hash)
        self.context.facts |= {"token_id": token_id}
        return f"sgx 1.0, policy hash {'as pinned' if policy_hash else NOT_COMPARED}"

    def identity(self) -> str:
        """Step 6: accept the enclave that the token names."""
        enclave = self.enclave = EnclaveClaims.of(self.token.claims)
        require_identity(enclave, self.context.policy, lambda: self.context.ledger)
        names = ("mrenclave", "mrsigner", "product_id", "svn")
        self.context.facts |= {name: getattr(enclave, name) for name in names}
        return f"MRENCLAVE {enclave.mrenclave}, product {enclave.product_id}, SVN {enclave.svn}"

    def binding(self) -> str:
        """Step 7: accept a token about exactly this runtime data."""
        held = self.token.claims.base64url("x-ms-sgx-ehd", protocol.MAX_RUNTIME_DATA_BYTES)
        got, expected = (f"SHA-256 {protocol.sha256_hex(data)}" for data in (held, self.runtime_data))
        require_equal(Refusal.EHD_MISMATCH, got, expected)
        claimed = self.token.claims.hexadecimal("x-ms-sgx-report-data", 64)
        require_equal(Refusal.REPORT_DATA_MISMATCH, claimed, protocol.report_data(self.runtime_data).hex())
        return f"SHA-256 of the runtime data {claimed[:64]}"

    def quote_match(self) -> str:
        """Step 8: accept a quote that the token was issued for and that says the same."""
        claims, digest = self.token.claims, protocol.sha256_hex(self.quote)
        claimed = claims.object("x-ms-sgx-collateral").hexadecimal("quotehash", 32)
        require_equal(Refusal.QUOTE_HASH_MISMATCH, f"SHA-256 {digest}", f"SHA-256 {claimed}")
        self.report = ReportBody.from_quote(self.quote)
        for name, claim, measured in self._compared(self.report, claims):
            if claim != measured:
                message = f"The token's {name} is not the quote's."
                got, expected = f"token: {claim!r}", f"quote: {measured!r}"
                refuse(Refusal.CLAIM_QUOTE_MISMATCH, message, got=got, expected=expected)
        self.context.facts |= {"quote_sha256": digest}
        return f"SHA-256 of the quote {digest}"

    def dcap(self) -> str:
        """Step 9: verify the quote itself."""
        policy = self.context.policy
        platform = verify_quote(
            self.quote, self.collateral_json, policy.dcap, self.context.now, policy.accepted_roots
        )
        require_attributes(self.report, policy.identities)
        self.context.facts |= {
            "tcb_status": platform.tcb_status,
            "advisories": platform.advisories,
            "fmspc": platform.fmspc,
            "tcb_evaluation_data_number": platform.tcb_evaluation_data_number,
            "collateral_expires_at": tokens.utc_text(int(platform.collateral_expires.timestamp())),
            "root_spki_sha256": platform.root_spki_sha256,
        }
        return ", ".join([platform.tcb_status, *platform.advisories, f"root key {platform.root_spki_sha256}"])

    def runtime_data_content(self) -> str:
        """Step 10: accept runtime data of the expected nonce, run and job."""
        context, expected = self.context, self.context.expectations
        runtime = self.runtime = RuntimeData.parse(self.runtime_data)
        require_nonce(runtime.nonce, expected.nonce, expected.seen_nonces)
        require_run(runtime, expected.run_id, expected.job, expected.job_file_sha256)
        context.facts |= {
            "nonce": protocol.b64url(runtime.nonce),
            "run_id": runtime.run_id,
            "job_name": runtime.job.name,
            "job_file_sha256": runtime.job.file_sha256,
            "arguments_sha256": runtime.job.arguments_sha256,
            "signing_key_thumbprint": runtime.thumbprint,
        }
        job = expected.job or expected.job_file_sha256
        named = (("nonce", expected.nonce), ("run id", expected.run_id), ("job", job))
        return ", ".join(context.compared(name, value) for name, value in named)

    def _compared(self, report: ReportBody, claims: JsonObject) -> list[tuple[str, object, object]]:
        enclave, report_data_claim = self.enclave, claims.hexadecimal("x-ms-sgx-report-data", 64)
        compared: list[tuple[str, object, object]] = [
            ("x-ms-sgx-is-debuggable", enclave.debuggable, report.debuggable),
            ("x-ms-sgx-mrenclave", enclave.mrenclave, report.mrenclave),
            ("x-ms-sgx-mrsigner", enclave.mrsigner, report.mrsigner),
            ("x-ms-sgx-product-id", enclave.product_id, report.product_id),
            ("x-ms-sgx-svn", enclave.svn, report.svn),
            ("x-ms-sgx-report-data", report_data_claim, report.report_data.hex()),
        ]
        for name, field in _KSS_CLAIMS.items():
            if name in claims.members:
                compared.append((name, claims.members[name], getattr(report, field).hex()))
        if "x-ms-sgx-config-svn" in claims.members:
            compared.append(("x-ms-sgx-config-svn", claims.integer("x-ms-sgx-config-svn"), report.config_svn))
        return compared


def _token_text(token: object) -> str:
    # Of bytes beyond ASCII none decodes as base64url.
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    if not isinstance(text, str):
        message = "The token has the wrong type."
        refuse(Refusal.INPUT_TYPE, message, got=type(token).__name__, expected="str or bytes")
    require_size(text, "token", protocol.MAX_TOKEN_BYTES)
    return text
