"""What a signed image says about itself is read strictly, wherever it comes from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from confidential_spark.core.errors import ConfigurationError, EnclaveError
from confidential_spark.enclave.image import IDENTITY_FIELDS, PREFIX, EnclaveImage, read_identity
from confidential_spark.settings import PROJECT_DIR
from confidential_spark.verification import load_policy
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "sha256:" + "ab" * 32
IMAGE = EnclaveImage(
    reference=DIGEST,
    digest=DIGEST,
    trust="simulated",
    mrenclave="01" * 32,
    mrsigner="02" * 32,
    product_id=1,
    svn=2,
    debuggable=False,
    inputs_sha256="03" * 32,
)
images = st.builds(
    EnclaveImage,
    reference=st.sampled_from([DIGEST, f"registry.example:5000/team/enclave@{DIGEST}"]),
    digest=st.just(DIGEST),
    trust=st.sampled_from(["hardware", "simulated"]),
    mrenclave=st.binary(min_size=32, max_size=32).map(bytes.hex),
    mrsigner=st.binary(min_size=32, max_size=32).map(bytes.hex),
    product_id=st.integers(0, 0xFFFF),
    svn=st.integers(0, 0xFFFF),
    debuggable=st.booleans(),
    inputs_sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(images)
def test_labels_and_xcom_are_read_back(image: EnclaveImage) -> None:
    assert EnclaveImage.from_labels(image.reference, image.digest, image.labels()) == image
    assert EnclaveImage.from_xcom(image.to_xcom()) == image


def refused(call, *arguments) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        call(*arguments)
    assert not refusal.value.retryable
    return refusal.value.code


@pytest.mark.parametrize("labels", [None, {}, {"org.opencontainers.image.title": "debian"}])
def test_an_image_without_our_labels_is_not_signed(labels) -> None:
    assert refused(EnclaveImage.from_labels, DIGEST, DIGEST, labels) == "image-not-signed"


@pytest.mark.parametrize(
    ("label", "value"),
    [
        pytest.param("trust", "hardware ", id="trust-with-space"),
        pytest.param("trust", "both", id="trust-unknown"),
        pytest.param("mrenclave", "AB" * 32, id="measurement-upper-case"),
        pytest.param("mrenclave", "01" * 31, id="measurement-short"),
        pytest.param("mrsigner", "", id="signer-empty"),
        pytest.param("svn", "65536", id="svn-too-large"),
        pytest.param("svn", "01", id="svn-leading-zero"),
        pytest.param("svn", "٣", id="svn-other-digits"),
        pytest.param("product-id", "-1", id="product-negative"),
        pytest.param("debuggable", "False", id="debuggable-python"),
        pytest.param("inputs", "x" * 64, id="inputs-not-hex"),
    ],
)
def test_a_malformed_label_is_refused(label: str, value: str) -> None:
    labels = IMAGE.labels() | {PREFIX + label: value}
    assert refused(EnclaveImage.from_labels, DIGEST, DIGEST, labels) == "image-malformed"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"reference": "enclave:latest"}, id="tag-instead-of-digest"),
        pytest.param({"reference": f"x y@{DIGEST}"}, id="reference-with-space"),
        pytest.param({"digest": "sha256:12"}, id="digest-short"),
        pytest.param({"svn": "2"}, id="number-as-text"),
        pytest.param({"svn": True}, id="truth-as-number"),
        pytest.param({"debuggable": 0}, id="number-as-truth"),
        pytest.param({"mrenclave": 7}, id="measurement-number"),
        pytest.param({"note": "hello"}, id="unknown-member"),
    ],
)
def test_a_malformed_event_is_refused(change) -> None:
    assert refused(EnclaveImage.from_xcom, IMAGE.to_xcom() | change) == "image-malformed"


def test_an_event_without_a_member_is_refused() -> None:
    event = IMAGE.to_xcom()
    del event["debuggable"]
    assert refused(EnclaveImage.from_xcom, event) == "image-malformed"


def test_labels_do_not_name_the_image_itself() -> None:
    assert replace(IMAGE, digest="sha256:" + "cd" * 32).labels() == IMAGE.labels()


def test_an_image_of_another_trust_is_refused() -> None:
    policy = load_policy(PROJECT_DIR / "include/policies/production.yaml")
    assert refused(IMAGE.require_trust, policy) == "image-trust-mismatch"
    replace(IMAGE, trust="hardware").require_trust(policy)


def printed(**change) -> list[str]:
    identity = {name: getattr(IMAGE, name) for name in IDENTITY_FIELDS}
    return ["Built and signed", json.dumps(identity | {"notice": "SIMULATED"} | change), ""]


def test_the_last_line_is_the_identity() -> None:
    assert read_identity(printed()) == {name: getattr(IMAGE, name) for name in IDENTITY_FIELDS}


@pytest.mark.parametrize(
    "output",
    [
        pytest.param([], id="nothing"),
        pytest.param(["done"], id="no-json"),
        pytest.param(["[]"], id="no-object"),
        pytest.param(['{"mrenclave": "01"}'], id="not-all"),
        pytest.param(printed(mrenclave="01" * 31), id="short-measurement"),
        pytest.param(printed(svn="2"), id="number-as-text"),
        pytest.param(printed(debuggable="false"), id="truth-as-text"),
        pytest.param(printed(trust="both"), id="trust-unknown"),
        pytest.param([*printed(), "more"], id="not-last"),
    ],
)
def test_anything_else_than_an_identity_is_refused(output) -> None:
    with pytest.raises(EnclaveError) as refusal:
        read_identity(output)
    assert refusal.value.code == "measurement-unreadable"
