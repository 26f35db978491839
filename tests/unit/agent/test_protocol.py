"""Both sides of the enclave's border have one idea of what is too large."""

from __future__ import annotations

import pytest
from confidential_spark.agent import protocol
from confidential_spark.agent.attestation import provider as attestation
from confidential_spark.agent.attestation import quote
from confidential_spark.agent.launch.launch_file import MAX_TEXT
from confidential_spark.simulation.service import requests as attestation_requests
from confidential_spark.verification import steps as attestation_steps
from confidential_spark.verification.attestation import maa_token as token
from confidential_spark.verification.attestation import runtime_data

from tests.support.factories.bundles import make_bundle

GENUINE = make_bundle()


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("MAX_QUOTE_BYTES", (quote, attestation_steps, attestation_requests)),
        ("MAX_RUNTIME_DATA_BYTES", (runtime_data, attestation_steps, attestation_requests)),
        ("MAX_TOKEN_BYTES", (attestation, attestation_steps, token)),
    ],
)
def test_there_is_one_limit(name, users):
    assert {vars(user).get(name) or getattr(user.protocol, name) for user in users} == {
        getattr(protocol, name)
    }


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("quote", protocol.MAX_QUOTE_BYTES),
        ("runtime_data", protocol.MAX_RUNTIME_DATA_BYTES),
        ("token", protocol.MAX_TOKEN_BYTES),
    ],
)
def test_the_verifier_reads_up_to_the_limit(name, limit):
    assert GENUINE.verify_attestation(**{name: b"a" * limit}).code != "input-too-large"
    assert GENUINE.verify_attestation(**{name: b"a" * (limit + 1)}).code == "input-too-large"


def test_token_with_the_largest_runtime_data_fits():
    """Microsoft Azure Attestation returns the runtime data three times in one token."""
    bundle = make_bundle(
        runtime_bytes=lambda data: data + b" " * (protocol.MAX_RUNTIME_DATA_BYTES - len(data)),
        claims=lambda c: c | dict.fromkeys(("maa-ehd", "aas-ehd"), c["x-ms-sgx-ehd"]),
    )
    assert len(bundle.runtime_data) == protocol.MAX_RUNTIME_DATA_BYTES
    assert bundle.verify_attestation().passed, bundle.verify_attestation().text()


def test_the_longest_launch_fits_into_runtime_data():
    job = protocol.JobIdentity("j" * 64, "a" * 64, "b" * 64)
    jwk = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43}
    longest = protocol.runtime_data(nonce=bytes(32), run_id='"' * MAX_TEXT, jwk=jwk, job=job)
    assert len(longest) < protocol.MAX_RUNTIME_DATA_BYTES


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["--month", "2018-05"], ["2018-05"], id="apart"),
        pytest.param(["--month=2018-05"], ["2018-05"], id="together"),
        pytest.param(["--month", "2018-05", "--month=2018-06"], ["2018-05", "2018-06"], id="twice"),
        pytest.param(["--months", "1", "2018-05"], [], id="longer-name"),
        pytest.param(["--month"], [""], id="without-a-value"),
    ],
)
def test_every_value_of_an_option_is_found(arguments, values):
    assert protocol.option_values(arguments, "--month") == values
