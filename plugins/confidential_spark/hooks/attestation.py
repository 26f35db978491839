"""Microsoft Azure Attestation over REST: `AttestationHook`.

Source: Azure Attestation REST API 2022-08-01 (attest, signing certificates, metadata).
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook

from confidential_spark.agent.protocol import b64url
from confidential_spark.core.errors import (
    AttestationServiceError,
    ConfidentialSparkError,
    ConfigurationError,
    VerificationError,
    shorten,
)
from confidential_spark.hooks.bounded_http import CallLimits, HttpAnswer, ServiceClient, service_url
from confidential_spark.hooks.connections import find_connection
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

DEFAULT_API_VERSION = "2022-08-01"
KEYS_REFETCH_SECONDS = 60.0
TOKEN_FORM = r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"  # noqa: S105 - a pattern
SERVICE = "attestation"


@dataclass(frozen=True)
class AttestationProvider:
    """Where tokens come from.

    :param url: the provider's checked address, e.g. ``https://sharedweu.weu.attest.azure.net``.
    """

    url: str
    api_version: str = DEFAULT_API_VERSION

    @classmethod
    def of(cls, url: str, api_version: str = DEFAULT_API_VERSION) -> AttestationProvider:
        """Return a provider with a checked address and API version.

        :raises AttestationServiceError: ``attestation-insecure-url``, ``attestation-api-version``.
        """
        if not isinstance(api_version, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", api_version, re.ASCII):
            raise AttestationServiceError(
                "The attestation API's version is malformed.",
                code="attestation-api-version",
                got=api_version,
                expected=f"a date such as {DEFAULT_API_VERSION}",
                action="correct api_version in the connection's extra",
            )
        return cls(service_url(url, SERVICE), api_version)


class AttestationHook(BaseHook):
    """Gets tokens and signing keys from an attestation provider; verifies neither, `core.verification` does.

    :param attestation_conn_id: connection with the provider's URL as host and, optionally, ``api_version``
        in its extra.
    :param provider: instead of a connection, for use without Airflow's database; see :meth:`from_url`.
    :param limits: times, sizes and tries.
    """

    conn_name_attr: ClassVar[str] = "attestation_conn_id"
    default_conn_name: ClassVar[str] = "maa_default"
    conn_type: ClassVar[str] = "azure_attestation"
    hook_name: ClassVar[str] = "Microsoft Azure Attestation"

    def __init__(
        self,
        attestation_conn_id: str = default_conn_name,
        *,
        provider: AttestationProvider | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        """Connect nothing yet."""
        super().__init__()
        self.attestation_conn_id = attestation_conn_id
        self._provider = provider
        self._limits = limits or CallLimits()
        self._keys: dict[str, Any] | None = None
        self._keys_fetched = 0.0

    @classmethod
    def from_url(
        cls, url: str, *, api_version: str = DEFAULT_API_VERSION, limits: CallLimits | None = None
    ) -> AttestationHook:
        """Return a hook for a provider's address, without an Airflow connection.

        :raises AttestationServiceError: ``attestation-insecure-url``, ``attestation-api-version``.
        """
        return cls(provider=AttestationProvider.of(url, api_version), limits=limits)

    @cached_property
    def provider(self) -> AttestationProvider:
        """The provider, read from the connection when first needed.

        :raises AttestationServiceError: ``attestation-insecure-url``, ``attestation-api-version``.
        :raises ConfigurationError: ``attestation-connection-missing``, ``secrets-…``.
        """
        if self._provider is not None:
            return self._provider
        connection = find_connection(self.attestation_conn_id)
        if connection is None:
            raise ConfigurationError(
                "The attestation provider's connection does not exist.",
                code="attestation-connection-missing",
                got=self.attestation_conn_id,
                expected="a connection of type azure_attestation",
                action="add it to Airflow, or correct CONFIDENTIAL_SPARK_ATTESTATION_CONN_ID",
            )
        host = connection.host or ""
        url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
        if connection.port:
            url = f"{url.rstrip('/')}:{connection.port}"
        return AttestationProvider.of(url, connection.extra_dejson.get("api_version", DEFAULT_API_VERSION))

    @property
    def provider_url(self) -> str:
        """The provider's address."""
        return self.provider.url

    @cached_property
    def http(self) -> ServiceClient:
        """The bounded connection to the provider."""
        return ServiceClient(self.provider.url, SERVICE, self._limits)

    def attest(self, quote: bytes, runtime_data: bytes) -> str:
        """Return the provider's token for an SGX quote.

        :param runtime_data: what the quote's report data is the SHA-256 of; sent as ``Binary``.
        :raises AttestationServiceError: see :meth:`ServiceClient.call`.
        """
        answer = self.http.call(
            "POST",
            "/attest/SgxEnclave",
            query={"api-version": self.provider.api_version},
            document={
                "quote": b64url(quote),
                "runtimeData": {"data": b64url(runtime_data), "dataType": "Binary"},
            },
        )
        try:
            document = self._document(answer)
            token = document.text("token", TOKEN_FORM, max_length=len(answer.body))
        except VerificationError as error:
            raise _garbage(error, answer, '{"token": a signed JWT}') from error
        if unread := sorted(set(document.members) - {"token"}):
            log.warning("The provider's answer says more, which is not read: %s", shorten(", ".join(unread)))
        return token

    def signing_keys(self, kid: str | None = None) -> dict[str, Any]:
        """Return the provider's JWKS, fetched once per hook.

        :param kid: a key id that must be in it; an unknown one causes one new fetch, at most once a minute.
        :raises AttestationServiceError: ``attestation-unknown-key`` (not retryable), or see
            :meth:`ServiceClient.call`.
        """
        if self._keys is None or (kid is not None and self._may_refetch(kid)):
            self._keys = self._fetch_keys()
        if kid is not None and kid not in _key_ids(self._keys):
            raise AttestationServiceError(
                "The provider does not know the key that signed the token.",
                code="attestation-unknown-key",
                got=kid,
                expected=", ".join(_key_ids(self._keys)) or "a key",
                action="do not trust the token; ask who issued it",
            )
        return self._keys

    def openid_configuration(self) -> dict[str, Any]:
        """Return the provider's metadata document.

        :raises AttestationServiceError: see :meth:`ServiceClient.call`.
        """
        answer = self.http.call("GET", "/.well-known/openid-configuration")
        try:
            document = self._document(answer)
            document.text("issuer")
        except VerificationError as error:
            raise _garbage(error, answer, "a metadata document with an issuer") from error
        return dict(document.members)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the provider answers, and with what, for Airflow's connection form."""
        try:
            issuer = self.openid_configuration()["issuer"]
            keys = len(_key_ids(self.signing_keys()))
        except ConfidentialSparkError as error:
            return False, error.diagnostics()
        return True, f"{issuer} answers with {keys} signing keys"

    def _may_refetch(self, kid: str) -> bool:
        known = self._keys is not None and kid in _key_ids(self._keys)
        return not known and time.monotonic() - self._keys_fetched >= KEYS_REFETCH_SECONDS

    def _fetch_keys(self) -> dict[str, Any]:
        answer = self.http.call("GET", "/certs")
        try:
            document = self._document(answer)
            for key in document.array("keys"):
                JsonObject.of(key, "key", Refusal.JWKS_MALFORMED)
            if not _key_ids(document.members):
                refuse(Refusal.JWKS_MALFORMED, got="no key with an id", expected="a key")
        except VerificationError as error:
            raise _garbage(error, answer, "a key set") from error
        self._keys_fetched = time.monotonic()
        return dict(document.members)

    def _document(self, answer: HttpAnswer) -> JsonObject:
        code = Refusal.TOKEN_MALFORMED
        value = strict_json.loads(
            answer.body, what="answer", max_bytes=self._limits.max_answer_bytes, malformed=code
        )
        return JsonObject.of(value, "answer", code)


def _key_ids(keys: Mapping[str, Any]) -> list[str]:
    """Return the ids of the set's keys; one without an id is no key that we know (RFC 7517, 5)."""
    return [key["kid"] for key in keys["keys"] if isinstance(key.get("kid"), str)]


def _garbage(error: VerificationError, answer: HttpAnswer, expected: str) -> AttestationServiceError:
    """Return the error for an answer of the wrong shape; its content may be secret and is not shown."""
    return AttestationServiceError(
        error.message,
        code="attestation-garbage",
        got=f"{len(answer.body)} bytes (x-ms-request-id {answer.request_id})",
        expected=expected,
        action="check that the address is an attestation provider's",
    )
