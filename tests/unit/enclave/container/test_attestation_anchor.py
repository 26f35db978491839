"""The anchor of an image's enclaves: what the agent reads is what is written here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.peer import AttestationAnchor
from confidential_spark.enclave.container.attestation_anchor import main
from confidential_spark.enclave.container.sign_key import SignKey
from confidential_spark.enclave.occlum_config import EnclaveSizing, render_occlum_json

if TYPE_CHECKING:
    from pathlib import Path

PROVIDER = {"issuer": "https://maa.example", "token_signing_keys": ["ab" * 32]}


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> SignKey:
    return SignKey.of_this_machine(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture
def files(tmp_path, key) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("provider", "occlum-json", "sign-key")}
    found["provider"].write_text(json.dumps(PROVIDER))
    found["occlum-json"].write_text(render_occlum_json(EnclaveSizing(product_id=7, svn=3)))
    found["sign-key"].write_bytes(key.pem)
    found["sign-key"].chmod(0o600)
    return found


def arguments(files: dict[str, Path]) -> list[str]:
    return [part for name, path in files.items() for part in (f"--{name}", str(path))]


def test_the_agent_reads_what_is_printed(files, key, tmp_path, capsys) -> None:
    assert main(arguments(files)) == 0
    printed = tmp_path / "anchor.json"
    printed.write_text(capsys.readouterr().out)
    assert AttestationAnchor.read(printed) == AttestationAnchor(
        issuer="https://maa.example",
        token_signing_keys=("ab" * 32,),
        mrsigner=key.mrsigner,
        product_id=7,
        svn=3,
    )


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        pytest.param("provider", "{}", "anchor-input-invalid", id="no-issuer"),
        pytest.param("provider", "[]", "anchor-input-invalid", id="no-object"),
        pytest.param("occlum-json", "{}", "anchor-input-invalid", id="no-metadata"),
        pytest.param("occlum-json", "{", "anchor-input-invalid", id="no-json"),
        pytest.param("sign-key", "PEM", "sign-key-invalid", id="no-key"),
    ],
)
def test_an_input_that_is_wrong_makes_no_anchor(files, capsys, name, content, code) -> None:
    files[name].write_text(content)
    assert main(arguments(files)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"[{code}]" in printed.err


def test_the_empty_file_of_an_unfinished_image_is_no_anchor(tmp_path) -> None:
    (tmp_path / "anchor.json").touch()
    with pytest.raises(AgentError, match="anchor-unusable"):
        AttestationAnchor.read(tmp_path / "anchor.json")
