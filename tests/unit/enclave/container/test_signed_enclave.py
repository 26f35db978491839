import hashlib
import json
from functools import cache

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.container import sigstruct
from confidential_spark.enclave.container.signed_enclave import main, read_identity
from cryptography.hazmat.primitives.asymmetric import rsa

FIRST, SECOND = b"\x11" * 32, b"\x22" * 32


@cache
def sgx_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def mrsigner() -> str:
    modulus = sgx_key().public_key().public_numbers().n
    return hashlib.sha256(modulus.to_bytes(384, "little")).hexdigest()


@pytest.fixture
def enclave(tmp_path):
    """A signed enclave with two SIGSTRUCTs, as Intel's tool makes them for loaders of different ages."""
    parts = [
        sigstruct.sign(sgx_key(), mrenclave=measured, product_id=1, svn=svn, debuggable=False)
        for measured, svn in ((FIRST, 1), (SECOND, 2))
    ]
    path = tmp_path / "libocclum-libos.signed.so"
    path.write_bytes(b"\x7fELF" + b"".join(parts) + b"tail")
    return path


def test_the_sigstruct_that_occlum_prints_is_the_one_that_counts(enclave):
    assert read_identity(enclave, SECOND.hex(), mrsigner()).svn == 2


@pytest.mark.parametrize(
    ("mrenclave", "signer"),
    [
        pytest.param("33" * 32, None, id="another-enclave"),
        pytest.param(FIRST.hex(), "44" * 32, id="another-signer"),
        pytest.param("", None, id="occlum-printed-nothing"),
    ],
)
def test_disagreement_with_occlum_print_is_refused(enclave, mrenclave, signer):
    with pytest.raises(EnclaveError) as refused:
        read_identity(enclave, mrenclave, signer or mrsigner())

    assert refused.value.code == "measurement-mismatch"


def test_a_binary_without_sigstruct_is_refused(tmp_path):
    (tmp_path / "enclave.so").write_bytes(b"\x7fELF")

    with pytest.raises(EnclaveError, match="no SIGSTRUCT"):
        read_identity(tmp_path / "enclave.so", FIRST.hex(), mrsigner())


def test_one_forged_sigstruct_spoils_the_binary(enclave):
    enclave.write_bytes(enclave.read_bytes().replace(SECOND, FIRST))

    with pytest.raises(EnclaveError, match="does not verify"):
        read_identity(enclave, FIRST.hex(), mrsigner())


def test_the_command_prints_what_labels_are_made_of(enclave, capsys):
    code = main([f"--enclave={enclave}", f"--mrenclave={FIRST.hex()}", f"--mrsigner={mrsigner()}"])

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed == {
        "mrenclave": FIRST.hex(),
        "mrsigner": mrsigner(),
        "product_id": 1,
        "svn": 1,
        "debuggable": False,
        "trust": "simulated",
        "notice": "SIMULATED – proves nothing about hardware",
    }


def test_without_the_simulation_the_trust_is_hardware(enclave, capsys, monkeypatch):
    monkeypatch.setattr("confidential_spark.enclave.container.signed_enclave.find_spec", lambda name: None)

    main([f"--enclave={enclave}", f"--mrenclave={FIRST.hex()}", f"--mrsigner={mrsigner()}"])

    printed = json.loads(capsys.readouterr().out)
    assert printed["trust"] == "hardware"
    assert "notice" not in printed


def test_the_command_fails_with_the_reason(tmp_path, capsys):
    code = main([f"--enclave={tmp_path / 'absent.so'}", "--mrenclave=00", "--mrsigner=00"])

    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    assert "[signed-enclave-unreadable]" in captured.err
