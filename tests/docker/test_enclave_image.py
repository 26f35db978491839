"""The enclave image on a real engine: built once, signed without a trace of the key, refused when changed."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.docker


def test_the_image_says_what_was_measured(enclave_image, engine) -> None:
    labels = engine.images.get(enclave_image.reference).labels
    assert enclave_image.labels().items() <= labels.items()
    assert enclave_image.trust == "simulated"
