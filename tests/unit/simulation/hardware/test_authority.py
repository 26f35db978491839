import json
from datetime import UTC, datetime, timedelta

import dcap_qvl
import pytest
from confidential_spark.simulation.enclave.software_quote import EnclaveIdentity, SoftwareQuote
from confidential_spark.simulation.hardware.authority import collateral, root_certificate_der

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
QUOTE = SoftwareQuote(EnclaveIdentity(b"e" * 32, b"s" * 32, 1, 1)).quote(bytes(64))


def verify(document: dict, at: datetime = NOW) -> dcap_qvl.VerifiedReport:
    parsed = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(document))
    return dcap_qvl.verify_with_root_ca(QUOTE, parsed, root_certificate_der(), int(at.timestamp()))


@pytest.mark.parametrize(
    "status",
    [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    ],
)
def test_the_platform_has_the_status_asked_for(status: str):
    advisories = [] if status == "UpToDate" else ["INTEL-SA-00615", "INTEL-SA-00657"]

    report = verify(collateral(NOW, tcb_status=status, advisories=advisories))

    assert (report.status, report.advisory_ids) == (status, advisories)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({"tcb_status": "Revoked"}, "TCB status is invalid: Revoked", id="revoked-platform"),
        pytest.param({"revoke_pck": True}, "CertRevoked", id="revoked-certificate"),
    ],
)
def test_a_revoked_platform_is_refused(options: dict, reason: str):
    with pytest.raises(ValueError, match=reason):
        verify(collateral(NOW, **options))


@pytest.mark.parametrize(
    ("now", "accepted"),
    [
        pytest.param(NOW.replace(hour=0, minute=0, second=0), True, id="at-issue"),
        pytest.param(
            NOW.replace(hour=0, minute=0, second=0) - timedelta(seconds=1), False, id="before-issue"
        ),
        pytest.param(NOW + timedelta(days=29), True, id="last-days"),
        pytest.param(NOW + timedelta(days=31), False, id="expired"),
    ],
)
def test_collateral_is_valid_from_the_days_start_for_thirty_days(now: datetime, accepted: bool):
    if accepted:
        assert verify(collateral(NOW), at=now).status == "UpToDate"
    else:
        with pytest.raises(ValueError, match=r"CrlExpired|issue date is in the future"):
            verify(collateral(NOW), at=now)


def test_collateral_is_the_same_all_day_in_any_time_zone():
    elsewhere = NOW.astimezone(datetime.strptime("+1400", "%z").tzinfo)

    assert collateral(NOW) == collateral(NOW.replace(hour=23)) == collateral(elsewhere)
    assert collateral(NOW) != collateral(NOW + timedelta(days=1))


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_a_changed_document_is_noticed(part: str):
    changed = collateral(NOW)
    changed[part] = changed[part].replace('"tcbEvaluationDataNumber":17', '"tcbEvaluationDataNumber":18')

    with pytest.raises(ValueError, match=f"Signature is invalid for {part}"):
        verify(changed)
