"""What Intel publishes for a real platform, for the simulated one: root certificate and DCAP collateral.

All keys are public (see `development_keys`), so this proves nothing; it lets a laptop run the same
verification code that a hardware run goes through.

Sources: Intel SGX PCS API v4 (TCB info v3, enclave identity v2), dcap-qvl's `QuoteCollateralV3`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization

from confidential_spark.agent.protocol import canonical_json
from confidential_spark.simulation.enclave import quoting_enclave
from confidential_spark.simulation.enclave.report import FLAG_INITIALIZED, FLAG_PROVISION_KEY
from confidential_spark.simulation.hardware import certificates
from confidential_spark.simulation.hardware.keys import p256_key, raw_signature
from confidential_spark.simulation.hardware.pck_extension import CPU_SVN, FMSPC, PCE_ID, PCE_SVN

if TYPE_CHECKING:
    from collections.abc import Sequence

UP_TO_DATE = "UpToDate"
COLLATERAL_VALIDITY = timedelta(days=30)
TCB_DATE = "2024-03-13T00:00:00Z"
TCB_EVALUATION_DATA_NUMBER = 17


def root_certificate_der() -> bytes:
    """Return the development root certificate (DER), the trust anchor of simulated evidence."""
    return certificates.root_certificate().public_bytes(serialization.Encoding.DER)


def root_certificate_pem() -> str:
    """Return the development root certificate as PEM: `include/policies/roots/development-root-ca.pem`."""
    return certificates.pem((certificates.root_certificate(),))


def collateral(
    now: datetime,
    *,
    tcb_status: str = UP_TO_DATE,
    advisories: Sequence[str] = (),
    revoke_pck: bool = False,
) -> dict[str, Any]:
    """Return the simulated platform's DCAP collateral in dcap-qvl's `QuoteCollateralV3` JSON form.

    Issued at the start of ``now``'s UTC day, valid for 30 days, and the same bytes all day.

    :param now: an aware clock; a past one gives stale collateral.
    :param tcb_status: the platform's TCB status, e.g. ``OutOfDate``.
    :param advisories: the Intel advisories that go with it.
    :param revoke_pck: put the PCK certificate on the revocation list.
    """
    issued = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tcb_info = canonical_json(_tcb_info(issued, tcb_status, advisories))
    qe_identity = canonical_json(_qe_identity(issued))
    signer = p256_key(certificates.TCB_SIGNING.name)
    tcb_chain = certificates.pem(certificates.tcb_signing_chain())
    return {
        "pck_crl_issuer_chain": certificates.pem(certificates.pck_chain()[1:]),
        "root_ca_crl": certificates.root_revocation_list(issued).hex(),
        "pck_crl": certificates.pck_revocation_list(issued, revoke_pck=revoke_pck).hex(),
        "tcb_info_issuer_chain": tcb_chain,
        "tcb_info": tcb_info.decode("ascii"),
        "tcb_info_signature": raw_signature(signer, tcb_info).hex(),
        "qe_identity_issuer_chain": tcb_chain,
        "qe_identity": qe_identity.decode("ascii"),
        "qe_identity_signature": raw_signature(signer, qe_identity).hex(),
    }


def _tcb_info(issued: datetime, status: str, advisories: Sequence[str]) -> dict[str, Any]:
    """Return TCB info v3: the simulated platform's own level, and an outdated one below it."""
    levels = [
        _tcb_level(CPU_SVN, PCE_SVN, status, advisories),
        _tcb_level(bytes(len(CPU_SVN)), 0, "OutOfDate", ["INTEL-SA-00615"]),
    ]
    return {
        "id": "SGX",
        "version": 3,
        **_validity(issued),
        "fmspc": FMSPC.hex(),
        "pceId": PCE_ID.hex(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": TCB_EVALUATION_DATA_NUMBER,
        "tcbLevels": levels,
    }


def _tcb_level(cpu_svn: bytes, pce_svn: int, status: str, advisories: Sequence[str]) -> dict[str, Any]:
    level: dict[str, Any] = {
        "tcb": {"sgxtcbcomponents": [{"svn": svn} for svn in cpu_svn], "pcesvn": pce_svn},
        "tcbDate": TCB_DATE,
        "tcbStatus": status,
    }
    return level | ({"advisoryIDs": list(advisories)} if advisories else {})


def _qe_identity(issued: datetime) -> dict[str, Any]:
    """Return enclave identity v2 of the simulated quoting enclave."""
    flags = FLAG_INITIALIZED | FLAG_PROVISION_KEY
    return {
        "id": "QE",
        "version": 2,
        **_validity(issued),
        "tcbEvaluationDataNumber": TCB_EVALUATION_DATA_NUMBER,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": (flags.to_bytes(8, "little") + bytes(8)).hex().upper(),
        "attributesMask": "FBFFFFFFFFFFFFFF" + "00" * 8,  # any 64-bit mode, any XFRM, as Intel's own
        "mrsigner": quoting_enclave.IDENTITY.mrsigner.hex().upper(),
        "isvprodid": quoting_enclave.IDENTITY.product_id,
        "tcbLevels": [
            {
                "tcb": {"isvsvn": quoting_enclave.IDENTITY.svn},
                "tcbDate": TCB_DATE,
                "tcbStatus": UP_TO_DATE,
            }
        ],
    }


def _validity(issued: datetime) -> dict[str, str]:
    return {
        "issueDate": _timestamp(issued),
        "nextUpdate": _timestamp(issued + COLLATERAL_VALIDITY),
    }


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
