"""A provisioning certificate caching service (PCCS) for the simulated platform.

Source: Intel SGX PCS API v4, as PCCS serves it; answers are what `dcap_qvl.get_collateral` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote as url_quote

from confidential_spark.simulation.hardware.authority import collateral
from confidential_spark.simulation.hardware.pck_extension import FMSPC
from confidential_spark.simulation.service.answers import JSON, Answer, Refused, error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

BINARY = "application/octet-stream"


def pck_revocation_list(query: Mapping[str, str], now: datetime) -> Answer:
    """Answer ``/pckcrl?ca=platform&encoding=der``.

    :raises Refused: for another CA or encoding.
    """
    _require(query, "ca", "platform")
    _require(query, "encoding", "der")
    current = collateral(now)
    chain = {"SGX-PCK-CRL-Issuer-Chain": url_quote(current["pck_crl_issuer_chain"])}
    return Answer(200, bytes.fromhex(current["pck_crl"]), BINARY, chain)


def root_revocation_list(query: Mapping[str, str], now: datetime) -> Answer:
    """Answer ``/rootcacrl``, in hex, as PCCS does and Intel does not."""
    return Answer(200, collateral(now)["root_ca_crl"].encode("ascii"), "text/plain; charset=utf-8")


def tcb_info(query: Mapping[str, str], now: datetime) -> Answer:
    """Answer ``/tcb?fmspc=…``.

    :raises Refused: for another platform.
    """
    _require(query, "fmspc", FMSPC.hex())
    current = collateral(now)
    chain = {"TCB-Info-Issuer-Chain": url_quote(current["tcb_info_issuer_chain"])}
    return _signed("tcbInfo", current["tcb_info"], current["tcb_info_signature"], chain)


def qe_identity(query: Mapping[str, str], now: datetime) -> Answer:
    """Answer ``/qe/identity``."""
    current = collateral(now)
    chain = {"SGX-Enclave-Identity-Issuer-Chain": url_quote(current["qe_identity_issuer_chain"])}
    return _signed("enclaveIdentity", current["qe_identity"], current["qe_identity_signature"], chain)


def _signed(name: str, document: str, signature: str, headers: Mapping[str, str]) -> Answer:
    # The signature covers the document's bytes, so it is embedded as text and never parsed.
    body = f'{{"{name}":{document},"signature":"{signature}"}}'
    return Answer(200, body.encode("ascii"), JSON, headers)


def _require(query: Mapping[str, str], name: str, expected: str) -> None:
    got = query.get(name, "")
    if got.lower() != expected:
        message = f"The simulated platform has {name}={expected}, not {got[:64]!r}."
        raise Refused(error(404, "NotFound", message))
