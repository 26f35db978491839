"""What the signing and the measuring container must say, and what they are made of."""

from __future__ import annotations

import json

import pytest
from confidential_spark.core.errors import ConfigurationError, EnclaveError
from confidential_spark.enclave.image import PREFIX, EnclaveImage
from confidential_spark.image_build.candidate import REVISION, STAGE, ImageInputs, revision_of
from confidential_spark.image_build.containers import (
    measuring,
    require_measured,
    signed_labels,
    signing,
)

IDENTITY = {
    "mrenclave": "01" * 32,
    "mrsigner": "02" * 32,
    "product_id": 1,
    "svn": 2,
    "debuggable": False,
    "trust": "simulated",
}
INPUTS = ImageInputs("simulated", inputs_sha256="03" * 32, mrsigner="02" * 32, revision="0123abc")
DIGEST = "sha256:" + "ab" * 32
IMAGE = EnclaveImage(reference=DIGEST, digest=DIGEST, inputs_sha256="03" * 32, **IDENTITY)


def said(**change) -> list[str]:
    return ["Built and signed", json.dumps(IDENTITY | {"notice": "SIMULATED"} | change), ""]


def test_labels_say_what_was_signed() -> None:
    labels = signed_labels(said(), INPUTS)
    assert EnclaveImage.from_labels(DIGEST, DIGEST, labels) == IMAGE
    assert INPUTS.signed_labels.items() <= labels.items()
    assert labels[STAGE] == "signed"


def test_an_enclave_that_another_key_signed_is_refused() -> None:
    with pytest.raises(EnclaveError) as refusal:
        signed_labels(said(mrsigner="09" * 32), INPUTS)
    assert refusal.value.code == "signer-mismatch"


def test_an_image_for_another_trust_is_never_labelled_as_the_asked_one() -> None:
    with pytest.raises(EnclaveError) as refusal:
        signed_labels(said(trust="hardware"), INPUTS)
    assert refusal.value.code == "measurement-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"mrenclave": "09" * 32}, id="measurement"),
        pytest.param({"mrsigner": "09" * 32}, id="signer"),
        pytest.param({"product_id": 2}, id="product"),
        pytest.param({"svn": 1}, id="version"),
        pytest.param({"debuggable": True}, id="debug"),
        pytest.param({"trust": "hardware"}, id="trust"),
    ],
)
def test_labels_and_measurement_must_agree(change) -> None:
    require_measured(IMAGE, said())
    with pytest.raises(EnclaveError) as refusal:
        require_measured(IMAGE, said(**change))
    assert refusal.value.code == "measurement-mismatch"


def test_the_key_lies_on_a_tmpfs() -> None:
    assert "/run/enclave-sign" in signing(DIGEST).tmpfs
    assert measuring(DIGEST).read_only


def test_every_try_of_one_image_has_the_same_container() -> None:
    assert signing(DIGEST) == signing(DIGEST)
    assert signing(DIGEST).name != measuring(DIGEST).name


def test_signed_and_unsigned_images_are_told_apart() -> None:
    assert INPUTS.unsigned_labels[STAGE] == "unsigned"
    assert f"{PREFIX}mrsigner" not in INPUTS.unsigned_labels


@pytest.mark.parametrize("revision", ["0123abc", "0123456789abcdef" * 2 + "01234567-dirty"])
def test_the_revision_is_read(revision: str) -> None:
    assert revision_of({REVISION: revision}) == revision


@pytest.mark.parametrize("labels", [{}, {REVISION: "unknown"}, {REVISION: "v1.0"}, {REVISION: "0123abc-x"}])
def test_an_image_of_no_revision_cannot_be_approved(labels) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        revision_of(labels)
    assert refusal.value.code == "image-revision-missing"
