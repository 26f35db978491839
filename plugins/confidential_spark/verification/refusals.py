"""Every reason for which evidence is refused: a stable short code and what it means."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from confidential_spark.core.errors import VerificationError


class Refusal(StrEnum):
    """Why evidence was refused. The codes are an interface: they are added to, never renamed."""

    step: str
    meaning: str

    def __new__(cls, code: str, step: str, meaning: str) -> Refusal:
        """Make the member equal to its code and keep the step and the meaning beside it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.step = step
        member.meaning = meaning
        return member

    # 0: nothing was judged
    JWKS_MISSING = "jwks-missing", "0", "No JWKS was given, and the policy pins no signing key."
    CLOCK_INVALID = "clock-invalid", "0", "The clock is not a datetime with a time zone, from 1970 to 9999."
    EXPECTATION_INVALID = "expectation-invalid", "0", "An expectation or the ledger has a wrong type or form."

    # 1: sizes and strict decoding
    INPUT_TYPE = "input-type", "0, 1, 12", "An input has the wrong Python type."
    INPUT_TOO_LARGE = "input-too-large", "any", "An input is larger than any genuine one."
    EVIDENCE_MALFORMED = "evidence-malformed", "1", "The bundle is not strict JSON of the documented shape."
    EVIDENCE_DUPLICATE_KEY = "evidence-duplicate-key", "1", "The bundle names a JSON member twice."
    STATEMENT_MALFORMED = "statement-malformed", "1", "The envelope's payload is not a readable statement."
    STATEMENT_DUPLICATE_KEY = "statement-duplicate-key", "1", "The statement names a JSON member twice."
    TOKEN_MALFORMED = "token-malformed", "1", "The token is not three canonical base64url parts of JSON."
    TOKEN_DUPLICATE_KEY = "token-duplicate-key", "1", "The token's header or claims name a member twice."

    # 2: header
    ALG_NOT_RS256 = "alg-not-rs256", "2", "The header's alg is not exactly RS256 (`none` included)."
    HEADER_UNKNOWN_KEY = "header-unknown-key", "2", "The header has a member beside alg, jku, kid and typ."
    TYP_NOT_JWT = "typ-not-jwt", "2", "The header's typ is not JWT."
    JKU_MISMATCH = "jku-mismatch", "2", "The header's jku is not the policy's issuer followed by /certs."
    KID_MALFORMED = "kid-malformed", "2", "The header's kid is missing or not a non-empty string."

    # 3: signing key and signature
    JWKS_MALFORMED = "jwks-malformed", "0, 3", "The key set is not strict JSON with an array of keys."
    JWKS_DUPLICATE_KEY = "jwks-duplicate-key", "3", "The key set names a JSON member twice."
    KID_UNKNOWN = "kid-unknown", "3", "No trusted key has the token's kid."
    KID_AMBIGUOUS = "kid-ambiguous", "3", "More than one trusted key has the token's kid."
    KEY_TYPE = "key-type", "3", "The key is not an RSA key for signatures with RS256."
    KEY_MALFORMED = "key-malformed", "3", "The key has no readable certificate (x5c), or is private."
    KEY_MISMATCH = "key-mismatch", "3", "The key's n and e differ from its certificate."
    KEY_TOO_SMALL = "key-too-small", "3", "The RSA key is shorter than 2048 bits."
    KEY_NOT_PINNED = "key-not-pinned", "3", "The policy pins signing keys and this is none of them."
    SIGNATURE_INVALID = "signature-invalid", "3", "The token's signature does not fit its content and key."

    # 4: issuer and time
    ISSUER_MISMATCH = "issuer-mismatch", "4", "iss is not exactly the policy's issuer."
    TIME_CLAIM_MALFORMED = "time-claim-malformed", "4", "exp, iat or nbf is not a whole number of seconds."
    TOKEN_LIFETIME = "token-lifetime", "4", "The token's lifetime is not positive or exceeds the policy's."
    TOKEN_NOT_YET_VALID = "token-not-yet-valid", "4", "nbf or iat lies in the future."
    TOKEN_EXPIRED = "token-expired", "4", "exp has passed."
    TOKEN_TOO_OLD = "token-too-old", "4", "The token is older than the policy's max_token_age."
    TOKEN_BEFORE_RUN = "token-before-run", "4", "The token was issued before the run started."
    TOKEN_REPLAYED = "token-replayed", "4", "A token with this id (jti) was seen before."

    # 5: kind of token
    ATTESTATION_TYPE = "attestation-type", "5", "x-ms-attestation-type is not sgx."
    ATTESTATION_VERSION = "attestation-version", "5", "x-ms-ver is not 1.0."
    POLICY_HASH_MISMATCH = "policy-hash-mismatch", "5", "The provider used another policy than the pinned."
    TOKEN_ID_MISSING = "token-id-missing", "5", "The token has no id (jti), so a replay could not be seen."

    # any claim from step 6 on
    CLAIM_MISSING = "claim-missing", "6–8", "A claim that must be judged is absent."
    CLAIM_MALFORMED = "claim-malformed", "6–8", "A claim has the wrong type or form."

    # 6: identity
    DEBUGGABLE = "debuggable", "6", "The enclave is debuggable: its memory can be read from outside."
    MRENCLAVE_DENIED = "mrenclave-denied", "6", "The policy denies this MRENCLAVE."
    MRSIGNER_DENIED = "mrsigner-denied", "6", "The policy, or this project, denies this MRSIGNER."
    MRENCLAVE_NOT_ALLOWED = "mrenclave-not-allowed", "6", "The MRENCLAVE is not on the allow-list."
    MRSIGNER_NOT_ALLOWED = "mrsigner-not-allowed", "6", "The MRSIGNER is not on the allow-list."
    PRODUCT_ID_NOT_ALLOWED = "product-id-not-allowed", "6", "The product id is not on the allow-list."
    SVN_TOO_LOW = "svn-too-low", "6", "The security version is below the policy's minimum."
    IDENTITY_NOT_APPROVED = "identity-not-approved", "6", "No ledger entry approves this whole identity."
    LEDGER_MISSING = "ledger-missing", "6", "The policy needs a ledger, and it is absent or unreadable."
    LEDGER_EMPTY = "ledger-empty", "6", "The ledger approves nothing."
    LEDGER_MALFORMED = "ledger-malformed", "6", "A ledger line is not an entry."
    LEDGER_BROKEN = "ledger-broken", "6", "A ledger entry does not follow from the one before it."
    LEDGER_HEAD_MISMATCH = "ledger-head-mismatch", "6", "The ledger does not end in the expected entry."

    # 7: binding
    EHD_MISMATCH = "ehd-mismatch", "7", "The token's enclave-held data is not the runtime data."
    REPORT_DATA_MISMATCH = "report-data-mismatch", "7", "Not SHA-256(runtime data) and 32 zero bytes."

    # 8: token and quote
    QUOTE_HASH_MISMATCH = "quote-hash-mismatch", "8", "This is not the quote that the token was issued for."
    CLAIM_QUOTE_MISMATCH = "claim-quote-mismatch", "8", "A claim of the token differs from the quote's field."

    # 9: the quote itself
    QUOTE_MALFORMED = "quote-malformed", "8, 9", "The quote's inner structure is broken."
    QUOTE_LENGTH = "quote-length", "9", "The quote is longer or shorter than its own length fields say."
    QUOTE_UNSUPPORTED = "quote-unsupported", "8, 9", "Not an ECDSA-P256 quote (version 3) of Intel's enclave."
    QUOTE_CHAIN = "quote-chain", "9", "The quote's certificates lead to no pinned root, or not at this time."
    CERTIFICATE_REVOKED = "certificate-revoked", "9", "A certificate of the quote or collateral is revoked."
    QUOTE_SIGNATURE = "quote-signature", "9", "A signature inside the quote is invalid."
    QE_IDENTITY = "qe-identity", "9", "The quoting enclave is not the one the collateral describes."
    COLLATERAL_MALFORMED = "collateral-malformed", "1, 9", "The collateral is not of the documented shape."
    COLLATERAL_DUPLICATE_KEY = "collateral-duplicate-key", "9", "The collateral names a JSON member twice."
    COLLATERAL_CHAIN = "collateral-chain", "9", "The collateral's certificates do not lead to a pinned root."
    COLLATERAL_SIGNATURE = "collateral-signature", "9", "TCB info, QE identity or a CRL is not signed right."
    COLLATERAL_NOT_YET_VALID = "collateral-not-yet-valid", "9", "The collateral was issued in the future."
    COLLATERAL_EXPIRED = "collateral-expired", "9", "The collateral's next update is overdue."
    COLLATERAL_STALE = "collateral-stale", "9", "The collateral is older than max_collateral_age."
    COLLATERAL_MISMATCH = "collateral-mismatch", "9", "The collateral belongs to another kind of platform."
    TCB_STATUS = "tcb-status", "9", "The platform's TCB status is not accepted."
    TCB_EVALUATION_NUMBER = "tcb-evaluation-number", "9", "The TCB evaluation data number is too low."
    ADVISORY = "advisory", "9", "A security advisory applies that the policy does not accept."
    PLATFORM_NOT_ALLOWED = "platform-not-allowed", "9", "Dynamic platform, cached keys or SMT is not allowed."
    DCAP_REFUSED = "dcap-refused", "9", "The DCAP library refused for a reason without a code of its own."

    ATTRIBUTES_NOT_ALLOWED = (
        "attributes-not-allowed",
        "9",
        "An attribute or reserved bit of the enclave is wrong.",
    )
    CONFIG_ID_NOT_ALLOWED = "config-id-not-allowed", "9", "The policy does not name this CONFIGID."
    MISC_SELECT_NOT_ALLOWED = "misc-select-not-allowed", "9", "The policy does not name this MISCSELECT."

    # 10: runtime data
    RUNTIME_DATA_MALFORMED = "runtime-data-malformed", "10", "The runtime data is not as documented."
    RUNTIME_DATA_DUPLICATE_KEY = "runtime-data-duplicate-key", "10", "The runtime data names a member twice."
    PRIVATE_KEY_IN_RUNTIME_DATA = "private-key-in-runtime-data", "10", "The runtime data has a private key."
    NONCE_MISMATCH = "nonce-mismatch", "10", "The nonce is not the one that was minted for this run."
    NONCE_REPLAYED = "nonce-replayed", "10", "The nonce was used before."
    RUN_ID_MISMATCH = "run-id-mismatch", "10", "The evidence belongs to another run."
    JOB_MISMATCH = "job-mismatch", "10", "Another job, job file or argument list ran."

    # 11: statement
    DSSE_MALFORMED = "dsse-malformed", "11", "The envelope has unknown members or another payload type."
    DSSE_SIGNATURE_COUNT = "dsse-signature-count", "11", "The envelope does not have exactly one signature."
    DSSE_KEYID_MISMATCH = "dsse-keyid-mismatch", "11", "The signature names a key that was not attested."
    DSSE_SIGNATURE = "dsse-signature", "11", "The statement is not signed with the attested key."
    STATEMENT_TYPE = "statement-type", "11", "Not an in-toto Statement v1 with this project's predicate."
    STATEMENT_SUBJECT = "statement-subject", "11", "No result is listed, or a name is repeated or unsafe."
    STATEMENT_PREDICATE = "statement-predicate", "11", "The predicate is not of the documented shape."
    STATEMENT_MISMATCH = "statement-mismatch", "11", "The predicate contradicts what was attested."
    STATEMENT_TIME = "statement-time", "11", "Launch, start, attestation, end and now are not in this order."
    IMAGE_DIGEST_MISMATCH = "image-digest-mismatch", "11", "The enclave was told of another image at launch."
    ARGUMENTS_AMBIGUOUS = "arguments-ambiguous", "11", "A job's parser may read an argument as --month."
    JOB_RESERVED = "job-reserved", "11", "The driver's job has a name that no job may have."
    EXECUTOR_MEASUREMENT = "executor-measurement", "11", "An executor is another program than the driver."
    EXECUTOR_DUPLICATE = "executor-duplicate", "11", "Two enclaves of a run share a token, key, quote or id."

    # 12: results
    RESULT_MISSING = "result-missing", "12", "A listed result file is absent."
    RESULT_DIGEST_MISMATCH = "result-digest-mismatch", "12", "A result is not what the enclave wrote."
    RESULT_UNLISTED = "result-unlisted", "12", "An unlisted file or empty folder lies beside the results."
    RESULT_NOT_A_FILE = "result-not-a-file", "12", "A result is a link, a device or otherwise no plain file."
    COMPANION_MISMATCH = "companion-mismatch", "12", "What lies beside the results is not this evidence."
    RESULT_UNREADABLE = "result-unreadable", "12", "The results cannot be read."

    # 13: trust
    TRUST_MISMATCH = "trust-mismatch", "13", "The evidence claims another trust level than the policy judges."
    NOTICE_MISMATCH = "notice-mismatch", "13", "The notice that simulated evidence must carry is wrong."

    # any step
    CHECK_CRASHED = "check-crashed", "any", "The check itself failed on this input; nothing was accepted."


# Perhaps the checking side handed over something wrong: no verdict follows, as from step 0.
CHECKING_SIDE = frozenset(
    code
    for code in Refusal
    if code.startswith(("jwks-", "key-", "ledger-"))
    or code in (Refusal.KID_UNKNOWN, Refusal.KID_AMBIGUOUS, Refusal.RESULT_UNREADABLE)
) - {Refusal.KEY_NOT_PINNED}


def refuse(
    code: Refusal, message: str = "", *, got: object = None, expected: object = None, action: str = ""
) -> NoReturn:
    """Refuse the evidence, in the words of the code where there is no better message.

    :raises VerificationError: always.
    """
    text = message or code.meaning
    raise VerificationError(text, code=code.value, got=got, expected=expected, action=action or None)


def require_equal(code: Refusal, got: object, expected: object, message: str = "") -> None:
    """Accept a value that equals the expected one and has its type: 1, 1.0 and true are three values.

    :raises VerificationError: ``code``.
    """
    if got != expected or type(got) is not type(expected):
        shown, wanted = (value if isinstance(value, str) else repr(value) for value in (got, expected))
        refuse(code, message, got=shown, expected=wanted)


def require_size(value: bytes | str, what: str, max_bytes: int) -> None:
    """Accept at most ``max_bytes`` bytes or characters.

    :raises VerificationError: ``input-too-large``.
    """
    if len(value) > max_bytes:
        got, expected = f"{len(value)} bytes", f"at most {max_bytes}"
        refuse(Refusal.INPUT_TOO_LARGE, f"The {what} is too large.", got=got, expected=expected)
