"""The public face: what callers import, and what importing it does not load."""

from __future__ import annotations

import subprocess
import sys

import confidential_spark.verification as face
import pytest

HEAVY = {"pydantic", "dcap_qvl", "cryptography", "yaml"}


@pytest.mark.parametrize("name", face.__all__)
def test_every_public_name_is_handed_on(name):
    assert getattr(face, name).__name__ == name


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        _ = face.nothing


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        pytest.param("import confidential_spark.verification", set(), id="face"),
        pytest.param("import confidential_spark.verification.strict_json", set(), id="strict-json"),
        pytest.param("from confidential_spark.verification import verify_evidence", HEAVY, id="verifying"),
    ],
)
def test_what_an_import_loads(statement, heavy):
    code = f"import sys; {statement}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert HEAVY & set(loaded.split()) == heavy
