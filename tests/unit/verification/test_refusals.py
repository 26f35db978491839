"""Reasons for refusals: one table in code, the same in the manual, each provoked by some test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confidential_spark.agent.protocol import MAX_QUOTE_BYTES, MAX_RUNTIME_DATA_BYTES, MAX_STATEMENT_BYTES
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.attestation.collateral import MAX_COLLATERAL_BYTES
from confidential_spark.verification.attestation.runtime_data import MAX_RUN_ID
from confidential_spark.verification.attestation.signing_keys import MAX_JWKS_BYTES
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES
from confidential_spark.verification.evidence.result_files import MAX_DEPTH
from confidential_spark.verification.policy.ledger import MAX_LEDGER_BYTES, MAX_LINE_BYTES
from confidential_spark.verification.policy.policy import parse_policy
from confidential_spark.verification.refusals import Refusal, refuse

from tests.support.factories.bundles import make_bundle
from tests.support.places import ROOT

MANUAL = ROOT / "docs" / "verification.md"


def code_table() -> str:
    rows = [f"| {code.step} | `{code}` | {code.meaning} |" for code in Refusal]
    return "\n".join(["| step | code | meaning |", "| --- | --- | --- |", *rows])


def blocks(marker: str, language: str) -> str:
    return re.search(rf"<!-- {marker}:.*?-->\n```{language}\n(.*?)```", MANUAL.read_text(), re.DOTALL)[1]


def test_manual_lists_exactly_these_codes():
    listed = re.search(r"<!-- codes: begin -->\n(.*?)\n<!-- codes: end -->", MANUAL.read_text(), re.DOTALL)
    assert listed[1] == code_table()


def test_codes_are_short_and_meanings_are_sentences():
    for code in Refusal:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code), code
        assert code.meaning.endswith("."), code


@pytest.mark.parametrize("code", Refusal)
def test_every_code_is_provoked_by_a_test(code):
    sources = [
        path.read_text() for path in (ROOT / "tests" / "unit").rglob("test_*.py") if path != Path(__file__)
    ]
    assert any(f'"{code}"' in source for source in sources)


def test_refusing_carries_the_parts():
    with pytest.raises(VerificationError) as error:
        refuse(Refusal.NONCE_MISMATCH, "Other.", got=b"x" * 500, expected="y", action="look")
    assert (error.value.code, error.value.expected, error.value.action) == ("nonce-mismatch", "y", "look")
    assert len(error.value.got) == 200


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        pytest.param("evidence", f"{MAX_EVIDENCE_BYTES // 2**20} MiB", id="evidence"),
        pytest.param("statement (decoded payload)", f"{MAX_STATEMENT_BYTES // 2**20} MiB", id="statement"),
        pytest.param("quote", f"{MAX_QUOTE_BYTES // 2**10} KiB", id="quote"),
        pytest.param("runtime data", f"{MAX_RUNTIME_DATA_BYTES // 2**10} KiB", id="runtime-data"),
        pytest.param("runtime data", f"run id of {MAX_RUN_ID} characters", id="run-id"),
        pytest.param("key set", f"{MAX_JWKS_BYTES // 2**20} MiB", id="key-set"),
        pytest.param("collateral", f"{MAX_COLLATERAL_BYTES // 2**20} MiB", id="collateral"),
        pytest.param("ledger", f"{MAX_LEDGER_BYTES // 2**20} MiB", id="ledger"),
        pytest.param("ledger", f"{MAX_LINE_BYTES:,} bytes a line", id="ledger-line"),
        pytest.param("result folders inside each other", str(MAX_DEPTH), id="folders"),
    ],
)
def test_manual_states_the_limits_of_the_code(what, limit):
    (row,) = re.findall(rf"^\| {re.escape(what)} \| (.*) \|$", MANUAL.read_text(), re.MULTILINE)
    assert limit in row.split(", ")


def test_manuals_policy_is_usable():
    text = blocks("policy", "yaml")
    policy = parse_policy(text.encode(), base=ROOT / "include" / "policies")
    assert policy.trust == "hardware"


def test_manuals_example_runs(tmp_path, monkeypatch, capsys):
    import json

    import yaml

    bundle = make_bundle()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    for name, content in bundle.results.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content)
    Path("evidence.json").write_bytes(bundle.evidence)
    Path("../jwks.json").write_text(json.dumps(bundle.jwks))
    Path("../policy.yaml").write_text(yaml.safe_dump(dict(bundle.policy)))
    exec(compile(blocks("example", "python"), "docs/verification.md", "exec"), {})  # noqa: S102 - our own manual
    assert "VERIFIED" in capsys.readouterr().out
