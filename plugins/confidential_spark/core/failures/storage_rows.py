"""What Azure Storage answers, inside the enclave (`agent/data/blobs.py`) and outside.

Source: "Blob service error codes" of the Blob service's REST API.
"""

from __future__ import annotations

from confidential_spark.core.failures.model import Failure, fatal, transient

STORAGE: tuple[Failure, ...] = (
    # First: their lines quote what the account has answered.
    fatal(
        "results-not-uploaded",
        "storage",
        "The storage account did not take the enclave's results.",
        "Read what it answered; the connection of CONFIDENTIAL_SPARK_AKS_WORK must be able to create blobs.",
    ),
    fatal(
        "results-missing",
        "storage",
        "The enclave has ended well, and the blob with its results is not there.",
        "Find out who else deletes below CONFIDENTIAL_SPARK_AKS_WORK; then run again.",
    ),
    # Before what a refusal with the same status means otherwise.
    fatal(
        "storage-blob-archived",
        "storage",
        "A blob lies in the archive tier, where nobody can read it.",
        "Move the month's blobs to the tier Cool or Hot, wait until that is done, and run again.",
        r"\bBlobArchived\b|\bBlobBeingRehydrated\b",
    ),
    fatal(
        "storage-denied",
        "storage",
        "The storage account refused the credentials.",
        "Correct the Airflow connection in CONFIDENTIAL_SPARK_BLOB_CONN_ID: a key or a SAS token of this "
        "account with read and list, or an identity that is Storage Blob Data Reader.",
        r"Server failed to authenticate the request",
        r"This request is not authorized to perform this operation",
        r"AuthenticationFailed|AuthorizationFailure|AuthorizationPermissionMismatch|PublicAccessNotPermitted",
    ),
    fatal(
        "storage-blob-changed",
        "storage",
        "A blob is no longer the one that was listed.",
        "Clear the run from `resolve_input` on, once nobody writes to the month.",
        r"\bConditionNotMet\b",
    ),
    fatal(
        "storage-blob-missing",
        "storage",
        "A blob that was listed is not there.",
        "Clear the run from `resolve_input` on, once the month is complete.",
        r"\bBlobNotFound\b",
    ),
    fatal(
        "storage-certificate",
        "storage",
        "Something in the storage account's place has no certificate that the enclave trusts.",
        "Look for a proxy that opens TLS: the enclave trusts the authorities of its image and no others.",
    ),
    fatal(
        "storage-redirected",
        "storage",
        "What answers in the storage account's place redirects elsewhere, which is not followed.",
        "Give the account's own Blob address, and look for a proxy in between.",
    ),
    fatal(
        "storage-garbage",
        "storage",
        "What answers is no Blob service, or not the account's.",
        "Look for a proxy or a sign-in page in between, and correct the address; the log says what came.",
        r"\[storage-(?:refused|too-large)\]",
    ),
    transient(
        "storage-busy",
        "storage",
        "The storage account asks for fewer requests.",
        "Wait and run again; run fewer months at once when it repeats.",
        r"The server is busy",
        r"\bServerBusy\b|\bServer Busy\b|OperationTimedOut",
        r"(?:Ingress|Egress|Operations per second) is over the account limit",
        r"\[storage-(?:throttled|unavailable)\]",
    ),
    transient(
        "storage-unreachable",
        "storage",
        "The storage account's name could not be resolved or reached.",
        "Check the account's name in the URI first; then DNS, firewall and private endpoints.",
        r"UnknownHostException",
        r"(?:blob|dfs)\.core\.windows\.net.{0,200}(?:timed out|Connection refused|Name or service not known)",
        r"\[storage-timeout\]",
    ),
)
