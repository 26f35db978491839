"""DCAP collateral from a PCCS (provisioning certificate caching service): `CollateralHook`.

The six pieces are fetched here, and not by `dcap_qvl.get_collateral`, because that follows redirects, obeys
proxies on loopback, fetches whatever address a certificate names, and has no limits of size or tries.

Source: Intel SGX PCS API v4, as cached by PCCS and Azure.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import dcap_qvl
from cryptography import x509

from confidential_spark.agent.bounded_http import is_loopback
from confidential_spark.core.errors import AttestationServiceError, ConfigurationError, VerificationError
from confidential_spark.hooks.bounded_http import CallLimits, ServiceClient, service_url
from confidential_spark.verification import strict_json
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from confidential_spark.hooks.bounded_http import HttpAnswer

SERVICE = "collateral"
API_PATH = "/sgx/certification/v4"
# Intel publishes the root's revocation list itself; not every cache has it. It is signed by the root.
INTEL_CRL_HOST = "https://certificates.trustedservices.intel.com"
INTEL_ROOT_CRL_PATH = "/IntelSGXRootCA.der"
ECDSA_BYTES = 64
_HEXADECIMAL = re.compile(rb"([0-9a-fA-F]{2})+")


class CollateralHook:
    """Gets what Intel signed about the platform of a quote; verifies nothing, `core.verification` does.

    :param pccs_url: the cache's address, with or without ``/sgx/certification/v4``.
    :param limits: times, sizes and tries of each of the four requests.
    :raises AttestationServiceError: ``collateral-insecure-url``.
    """

    def __init__(self, pccs_url: str, *, limits: CallLimits | None = None) -> None:
        """Connect nothing yet."""
        self.pccs_url = service_url(pccs_url, SERVICE).removesuffix(API_PATH)
        self._limits = limits or CallLimits(deadline=60.0)

    @cached_property
    def http(self) -> ServiceClient:
        """The bounded connection to the cache."""
        return ServiceClient(self.pccs_url, SERVICE, self._limits)

    def fetch(self, quote: bytes) -> dict[str, Any]:
        """Return a quote's collateral in dcap-qvl's `QuoteCollateralV3` JSON form.

        The PCK certificate chain is not in it: it is in the quote.

        :raises ConfigurationError: ``collateral-quote-unsupported``: no quote with its PCK chain.
        :raises AttestationServiceError: ``collateral-…``, see :meth:`ServiceClient.call`.
        """
        fmspc, authority = _platform(quote)
        pck_crl = self._get("/pckcrl", ca=authority, encoding="der")
        tcb_info = self._get("/tcb", fmspc=fmspc)
        qe_identity = self._get("/qe/identity", update="standard")
        collateral = {
            "pck_crl_issuer_chain": _issuer_chain(pck_crl, "SGX-PCK-CRL-Issuer-Chain"),
            "root_ca_crl": _revocation_list(self._root_crl()).hex(),
            "pck_crl": _revocation_list(pck_crl).hex(),
            "tcb_info_issuer_chain": _issuer_chain(
                tcb_info, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"
            ),
            "qe_identity_issuer_chain": _issuer_chain(qe_identity, "SGX-Enclave-Identity-Issuer-Chain"),
        }
        collateral["tcb_info"], collateral["tcb_info_signature"] = _signed(tcb_info, "tcbInfo")
        collateral["qe_identity"], collateral["qe_identity_signature"] = _signed(
            qe_identity, "enclaveIdentity"
        )
        return collateral

    def _get(self, path: str, **query: str) -> HttpAnswer:
        return self.http.call("GET", API_PATH + path, query=query)

    def _root_crl(self) -> HttpAnswer:
        try:
            return self._get("/rootcacrl")
        except AttestationServiceError as error:
            if error.retryable or is_loopback(self.pccs_url):
                raise
            return ServiceClient(INTEL_CRL_HOST, SERVICE, self._limits).call("GET", INTEL_ROOT_CRL_PATH)


def _platform(quote: bytes) -> tuple[str, str]:
    """Return the FMSPC (hex) and the PCK authority (``platform`` or ``processor``) of a quote.

    :raises ConfigurationError: ``collateral-quote-unsupported``.
    """
    try:
        parsed = dcap_qvl.parse_quote(quote)
        return parsed.fmspc(), parsed.ca()
    except ValueError as error:
        raise ConfigurationError(
            "The platform of the quote cannot be told.",
            code="collateral-quote-unsupported",
            got=f"{len(quote)} bytes: {error}",
            expected="a quote with its PCK certificate chain (certification data type 5)",
        ) from error


def _issuer_chain(answer: HttpAnswer, *names: str) -> str:
    """Return the PEM chain in the first present header, where it stands URL-encoded."""
    for name in names:
        if name in answer.headers:
            return unquote(answer.headers[name])
    raise _garbage(f"no header {names[0]}", "an issuer chain")


def _revocation_list(answer: HttpAnswer) -> bytes:
    """Return a CRL as DER; PCCS answers some in hex, Intel in DER."""
    text = answer.body.strip()
    der = bytes.fromhex(text.decode("ascii")) if _HEXADECIMAL.fullmatch(text) else answer.body
    try:
        x509.load_der_x509_crl(der)
    except ValueError as error:
        raise _garbage(f"{len(answer.body)} bytes", "a certificate revocation list in DER or hex") from error
    return der


def _signed(answer: HttpAnswer, name: str) -> tuple[str, str]:
    """Return a document as the text that was signed, and its signature in hex."""
    code = Refusal.COLLATERAL_MALFORMED
    try:
        value = strict_json.loads(
            answer.body, what=name, max_bytes=len(answer.body), malformed=code, duplicate=code
        )
        members = JsonObject.of(value, name, code)
        document, signature = members.object(name), members.hexadecimal("signature", ECDSA_BYTES)
    except VerificationError as error:
        raise _garbage(error.message, f"a signed {name}") from error
    # Intel signs the text without white space, members in the order they stand in.
    return json.dumps(document.members, separators=(",", ":"), ensure_ascii=False), signature


def _garbage(got: str, expected: str) -> AttestationServiceError:
    return AttestationServiceError(
        "The collateral service's answer makes no sense.",
        code="collateral-garbage",
        got=got,
        expected=expected,
        action="check that the address is a PCCS's",
    )
