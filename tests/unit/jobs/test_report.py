import json
import shlex

import pytest
from confidential_spark.agent.protocol import SIMULATED_NOTICE
from confidential_spark.core.errors import ResultError
from confidential_spark.jobs.checks.result import CheckResult, Severity
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.report import Figures, RunReport
from confidential_spark.jobs.sparkpi import SPARKPI
from pydantic import ValidationError

MEASUREMENT = {"mrenclave": "ab" * 32, "mrsigner": "cd" * 32, "product_id": 1, "svn": 2}
INPUTS = {"uri": "file:///d/puYear=2018/puMonth=5", "files": 1, "rows": 10_000, "bytes": 277_419}


def report(**changes) -> RunReport:
    checks = [
        CheckResult("sums", Severity.ERROR, True, "1", "1"),
        CheckResult("trailing_trips", Severity.WARN, False, "z = 9", "within ±3.5"),
    ]
    values = {
        "run_id": "nytaxi_local/manual__1",
        "dag_id": "nytaxi_local",
        "job": "nytaxi",
        "month": "2018-05",
        "platform": "local",
        "trust": "simulated",
        "notice": SIMULATED_NOTICE,
        "synthetic": True,
        "image_digest": "sha256:" + "0" * 64,
        "measurement": MEASUREMENT,
        "figures": {"rows": 10_000, "rejected": 26, "trips": 9_974, "revenue_cents": 123_456_789},
        "verification": {"passed": True, "steps": [], "facts": {"finished_at": "2026-11-23T06:08:12Z"}},
        "checks": [check.to_dict() for check in checks],
        "inputs": INPUTS,
        "timings": {"spark": 7.25, "validation": 1.5},
    }
    return RunReport.model_validate(values | changes)


def test_survives_its_file_and_is_the_same_text_each_time(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(report().to_json())
    assert RunReport.read(path) == report()
    assert RunReport.read(path).to_json() == report().to_json()
    assert json.loads(path.read_text())["schema_version"] == 1


def test_the_verdict_tells_the_story():
    text = report().verdict_text(
        "/r/nytaxi_local/month=2018-05", "include/policies/simulation.yaml", "nytaxi.py"
    )
    for part in (
        "2018-05",
        "10,000 (26 rejected)",
        "9,974",
        "$1,234,567.89",
        "8.8 s",
        "SIMULATED – proves nothing about hardware",
        "SYNTHETIC – made by confidential-spark, not TLC data",
        "1 of 2 passed · WARNING: trailing_trips",
        "/r/nytaxi_local/month=2018-05/evidence.json",
    ):
        assert part in text
    # A command is as long as the paths that it names.
    assert max(len(line) for line in text.splitlines() if "Verify" not in line) < 180


def test_the_command_in_the_verdict_survives_blanks_in_paths():
    text = report().verdict_text("/my results/month=2018-05", "my policy.yaml", "my jobs/nytaxi.py")
    command = next(line.split("  ")[-1] for line in text.splitlines() if "Verify" in line)
    assert shlex.split(command)[1:] == [
        "verify",
        "/my results/month=2018-05/evidence.json",
        "--policy",
        "my policy.yaml",
        "--month",
        "2018-05",
        "--job-file",
        "my jobs/nytaxi.py",
        "--at",
        "2026-11-23T06:08:12Z",
    ]


def test_hardware_says_so_and_nothing_of_simulation():
    hardware = report(trust="hardware", notice=None, synthetic=False)
    text = hardware.verdict_text("/r", "p.yaml", "j.py")
    assert "Trust  hardware" in text
    assert "SIMULATED" not in text
    assert "SYNTHETIC" not in text


def test_sparkpi_has_no_month_and_no_money():
    text = report(
        job="sparkpi", month=None, inputs=None, figures={"rows": 400_000, "pi": 3.14159}
    ).verdict_text("/r", "p", "j.py")
    assert "3.141590" in text
    assert "Revenue" not in text


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"notice": None}, id="simulated-without-notice"),
        pytest.param({"trust": "hardware"}, id="hardware-with-notice"),
        pytest.param({"trust": "none", "notice": None}, id="unknown-trust"),
        pytest.param({"surprise": 1}, id="unknown-key"),
        pytest.param({"schema_version": 2}, id="other-version"),
        pytest.param({"timings": {"spark": -1}}, id="negative-time"),
        pytest.param({"timings": {"spark": float("nan")}}, id="nan-time"),
    ],
)
def test_refuses_reports_that_lie_about_themselves(changes):
    with pytest.raises(ValidationError):
        report(**changes)


def test_xcom_is_small_even_with_many_warnings():
    many = [
        CheckResult(f"check_{n}" * 5, Severity.WARN, False, "x" * 200, "y" * 200).to_dict() for n in range(60)
    ]
    value = report(checks=many).to_xcom()
    assert len(json.dumps(value, ensure_ascii=False).encode()) < 1_000
    assert value["notice"] == SIMULATED_NOTICE


def test_figures_are_picked_from_either_jobs_summary():
    nytaxi = {"rows": {"input": 5, "accepted": 4, "rejected": 1}, "totals": {"trips": 4, "revenue_cents": 9}}
    assert Figures.of(nytaxi, NYTAXI) == Figures(rows=5, rejected=1, trips=4, revenue_cents=9)
    pi = {"rows": {"input": 5, "accepted": 5, "rejected": 0}, "pi": 3.2}
    assert Figures.of(pi, SPARKPI) == Figures(rows=5, pi=3.2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_an_unreadable_report_is_a_clear_error(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(ResultError, match="report-unreadable"):
        RunReport.read(tmp_path / "report.json")
