"""Where a result comes from: proven digests only, who approved by the ledger, who started by Airflow."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.ui.rendering import size
from confidential_spark.ui.views.provenance import approval
from confidential_spark.verification.report import VerifiedFacts

from tests.unit.ui.conftest import DAG_ID, KEY, MRENCLAVE, PROGRAM

GREEN = dict.fromkeys(TASK_IDS, "success")
RESULT = f"/results/{DAG_ID}/{KEY}"
FACTS = VerifiedFacts(mrenclave="aa" * 32, mrsigner="bb" * 32, product_id=1, svn=2)


def ledger_line(previous: str, **changes: object) -> bytes:
    entry = {
        "v": 1,
        "approved_at": "2026-11-23T10:00:00Z",
        "approved_by": "ann",
        "image_digest": "sha256:" + "cd" * 32,
        "mrenclave": FACTS.mrenclave,
        "mrsigner": FACTS.mrsigner,
        "product_id": 1,
        "svn": 2,
        "git_revision": "37f307a",
        "previous": previous,
    }
    return canonical_json({**entry, **changes})


def policy(ledger, *, needs_ledger=True):
    identities = SimpleNamespace(needs_ledger=needs_ledger)
    return SimpleNamespace(name="production", version=3, ledger=ledger, identities=identities)


@pytest.mark.parametrize(
    ("approvers", "expected"),
    [
        pytest.param([{}], "ann, 2026-11-23T10:00:00Z, entry 1 of 1 in the ledger", id="one"),
        pytest.param(
            [{}, {"approved_by": "eve", "svn": 3}, {"approved_by": "bob"}],
            "bob, 2026-11-23T10:00:00Z, entry 3 of 3 in the ledger",
            id="the-latest-of-this-identity",
        ),
        pytest.param(
            [{"mrenclave": "00" * 32}],
            "policy production, version 3, which lists the signer and names no person",
            id="none-of-this-identity",
        ),
    ],
)
def test_the_ledger_says_who_approved(tmp_path, approvers, expected):
    lines: list[bytes] = []
    for changes in approvers:
        lines.append(ledger_line(sha256_hex(lines[-1]) if lines else "0" * 64, **changes))
    path = tmp_path / "ledger"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert approval(policy(path), FACTS) == expected


def test_a_policy_that_lists_the_measurement_names_nobody(tmp_path):
    said = approval(policy(tmp_path / "absent", needs_ledger=False), FACTS)
    assert said == "policy production, version 3, which lists the measurement and names no person"


def test_a_broken_ledger_is_said_and_breaks_no_page(tmp_path):
    (tmp_path / "ledger").write_bytes(b"{}\n")
    assert "which cannot be read: " in approval(policy(tmp_path / "ledger"), FACTS)


def test_the_page_names_every_file_with_its_digest(browse, publish, dag_run):
    folder = publish()
    dag_run("success", GREEN)
    page = browse().get(RESULT).text
    for name in ("summary.json", "by_hour.parquet", "by_payment_type.parquet"):
        assert f"<code>{sha256_hex((folder / name).read_bytes())}</code>" in page
    for digest in (sha256_hex(PROGRAM), MRENCLAVE):
        assert digest[:12] in page
    assert "Started by" in page
    assert "Airflow no longer knows the run" not in page


def test_a_refused_result_comes_from_nowhere(browse, publish, dag_run):
    (publish() / "summary.json").write_text("{}")
    dag_run("success", GREEN)
    page = browse().get(RESULT).text
    assert "REFUSED" in page
    assert 'id="provenance"' not in page


def test_without_its_run_a_result_has_no_timeline(browse, publish, dag_run):
    publish(run_id="manual__forgotten")
    dag_run("success", GREEN)
    page = browse().get(RESULT).text
    assert "Airflow no longer knows the run" in page
    assert 'id="timeline"' not in page


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param({"triggered_by": "UI", "triggering_user_name": "ann"}, "ann, by hand", id="by-hand"),
        pytest.param(
            {"triggered_by": "REST_API", "triggering_user_name": "ann"}, "ann, by the API", id="api"
        ),
        pytest.param({"triggered_by": "TIMETABLE"}, "the schedule", id="scheduled"),
        pytest.param({}, "manual", id="unknown-component"),
        pytest.param({"triggering_user_name": "<b>"}, "&lt;b&gt;, manual", id="markup"),
    ],
)
def test_the_page_says_who_started_the_run(browse, publish, dag_run, columns, expected):
    from airflow.utils.types import DagRunTriggeredByType

    if "triggered_by" in columns:
        columns = {**columns, "triggered_by": DagRunTriggeredByType[columns["triggered_by"]]}
    publish()
    dag_run("success", GREEN, **columns)
    assert f"<dt>Started by</dt><dd>{expected}</dd>" in browse().get(RESULT).text


def test_replaced_versions_are_named_while_they_are_kept(browse, publish, dag_run):
    old = publish(attempt="try-1")
    publish(attempt="try-2")
    dag_run("success", GREEN)
    before = browse().get(RESULT).text
    (old.parent / "try-1.replaced").touch()
    (old.parent / "try-0.replaced").touch()
    page = browse().get(RESULT).text
    assert 'id="versions"' not in before
    assert "<code>try-1</code>, replaced" in page
    assert f"results/{DAG_ID}/month%3D2018-05/archive.zip?version=try-1" in page
    assert "try-0" not in page, "it is no longer there"
    assert browse().get(f"{RESULT}/archive.zip?version=try-1").status_code == 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 bytes"), (999, "999 bytes"), (297_310, "297 kB"), (999_600, "1 MB"), (5 * 10**15, "5,000 TB")],
)
def test_sizes_as_people_read_them(value, expected):
    assert size(value) == expected
