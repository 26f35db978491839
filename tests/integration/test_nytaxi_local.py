"""One month through all four stages, and what stops it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = [pytest.mark.spark]
POLICIES = ROOT / "include" / "policies"


@pytest.fixture(scope="module")
def green(run_dag):
    return run_dag("nytaxi_local", "2018-05")


@pytest.fixture(scope="module")
def real(run_dag, shared_data):
    """A month of the city's own rows."""
    return run_dag("nytaxi_local", "2018-08", input=(shared_data / "yellow").resolve().as_uri())


@pytest.fixture
def published(green, results_dir) -> Path:
    return results_dir / "nytaxi_local" / "month=2018-05"


def verify(evidence: Path, policy: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "confidential_spark", "verify", str(evidence)]
    return subprocess.run(
        [*command, "--policy", str(POLICIES / policy), *options], capture_output=True, text=True, check=False
    )


def test_every_task_succeeds(green) -> None:
    assert green.state == "success"
    assert set(green.tasks.values()) == {"success"}


def test_publishes_figures_tables_evidence_and_report(published) -> None:
    assert {path.name for path in published.iterdir()} == {
        *("summary.json", "by_hour.parquet", "by_pickup_zone.parquet", "by_payment_type.parquet"),
        *("envelope.json", "evidence.json", "report.json"),
    }


def test_tells_consumers_of_the_asset_and_the_year_by_a_partition(green) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        events = session.execute(
            select(AssetModel.name, AssetEvent.partition_key)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetEvent.source_run_id == green.run_id)
        ).all()
    assert {tuple(event) for event in events} == {("nytaxi_local", None), ("nytaxi_local_months", "2018-05")}


def test_says_everywhere_that_it_was_simulated_and_synthetic(published, green) -> None:
    assert "SIMULATED" in (published / "evidence.json").read_text()
    report = json.loads((published / "report.json").read_text())
    assert report["trust"] == "simulated"
    assert report["synthetic"] is True
    assert green.xcoms["validation.publish"]["trust"] == "simulated"


def test_an_outsider_verifies_it_with_the_simulation_policy(published) -> None:
    done = verify(published / "evidence.json", "simulation.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_production_policy_refuses_it(published, tmp_path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(json.loads((published / "evidence.json").read_text())["jwks"]))
    done = verify(published / "evidence.json", "production.yaml", "--jwks", str(keys))
    assert done.returncode == 1
    assert "REFUSED · step 2, jku-mismatch" in done.stdout


def test_a_changed_figure_is_refused(published, tmp_path) -> None:
    copy = shutil.copytree(published, tmp_path / "copy")
    summary = copy / "summary.json"
    summary.write_text(summary.read_text().replace("1", "2", 1))
    done = verify(copy / "evidence.json", "simulation.yaml")
    assert done.returncode == 1
    assert "result-digest-mismatch" in done.stdout


def staged(results_dir: Path) -> list[Path]:
    return list(results_dir.rglob(".staging/*/*"))


def test_leaves_no_staging(green, results_dir) -> None:
    assert staged(results_dir) == []


def test_secrets_and_bulk_stay_out_of_xcom(green) -> None:
    for task_id, value in green.xcoms.items():
        assert len(json.dumps(value)) < 8_000, task_id


def test_running_a_month_again_replaces_it(green, run_dag, published) -> None:
    before = json.loads((published / "evidence.json").read_text())["envelope"]["payload"]
    again = run_dag("nytaxi_local", "2018-05")
    assert again.state == "success"
    assert json.loads((published / "evidence.json").read_text())["envelope"]["payload"] != before


def test_publish_off_checks_everything_and_publishes_nothing(run_dag, results_dir) -> None:
    run = run_dag("nytaxi_local", "2018-03", publish=False)
    assert run.tasks["validation.check_results"] == "success"
    assert not (results_dir / "nytaxi_local" / "month=2018-03").exists()


def test_real_months_agree_with_an_independent_recount(real, results_dir) -> None:
    assert real.state == "success"
    report = json.loads((results_dir / "nytaxi_local" / "month=2018-08" / "report.json").read_text())
    assert report["synthetic"] is False
    assert report["figures"]["rows"] == 10_000
    recounts = [check for check in report["checks"] if check["name"].startswith("recount")]
    assert recounts
    assert all(check["passed"] for check in recounts)


def test_demand_counts_the_trips_that_nytaxi_published(green, run_dag, results_dir) -> None:
    run = run_dag("nytaxi_demand_local", "2018-05")
    assert run.state == "success"
    report = json.loads((results_dir / "nytaxi_demand_local" / "month=2018-05" / "report.json").read_text())
    (compared,) = [check for check in report["checks"] if check["name"] == "nytaxi_trips"]
    assert (compared["severity"], compared["passed"]) == ("error", True)
    assert compared["got"] == str(green.xcoms["validation.check_results"]["figures"]["trips"])


class TestRefusals:
    """Each fails at once, by name, with nothing published."""

    def test_a_month_without_data(self, run_dag, shared_data, results_dir) -> None:
        run = run_dag("nytaxi_local", "2017-02", input=(shared_data / "yellow").resolve().as_uri())
        assert run.state == "failed"
        assert run.tasks["spark.resolve_input"] == "failed"
        assert run.tries["spark.resolve_input"] == 1
        assert staged(results_dir) == []
        assert not (results_dir / "nytaxi_local" / "month=2017-02").exists()

    def test_a_measurement_nobody_approved(self, run_dag, tmp_path, monkeypatch, results_dir) -> None:
        from confidential_spark.settings import forget_settings

        include = shutil.copytree(ROOT / "include", tmp_path / "include")
        (include / "jobs" / "sparkpi.py").write_text("print('something else')\n")
        monkeypatch.setenv("CONFIDENTIAL_SPARK_INCLUDE_DIR", str(include))
        forget_settings()
        try:
            run = run_dag("nytaxi_local", "2017-03")
        finally:
            forget_settings()
        assert run.tasks["image.resolve_image"] == "failed"
        assert run.tries["image.resolve_image"] == 1
        assert run.tasks["spark.run_spark"] == "upstream_failed"
        assert not (results_dir / "nytaxi_local" / "month=2017-03").exists()

    def test_results_that_fail_a_check(self, run_dag, tmp_path, monkeypatch, results_dir) -> None:
        from confidential_spark.settings import forget_settings

        include = shutil.copytree(ROOT / "include", tmp_path / "include")
        limits = include / "checks" / "nytaxi.yaml"
        limits.write_text(
            limits.read_text().replace("max_reject_share: 0", "max_reject_share: 0.000001 # 0", 1)
        )
        monkeypatch.setenv("CONFIDENTIAL_SPARK_INCLUDE_DIR", str(include))
        forget_settings()
        try:
            run = run_dag("nytaxi_local", "2017-04")
        finally:
            forget_settings()
        assert run.failed == {"validation.check_results"}
        assert run.tries["validation.check_results"] == 1
        assert staged(results_dir) == []
        assert not (results_dir / "nytaxi_local" / "month=2017-04").exists()
        refused = list((results_dir / "nytaxi_local" / ".refused" / "month=2017-04").iterdir())
        assert [(path / "evidence.json").is_file() for path in refused] == [True]


class TestPublishing:
    """A publication that was interrupted is completed by the task's next try."""

    @pytest.mark.parametrize(
        ("module", "function"), [("published_versions", "switch_link"), ("folder_store", "_remove_attempt")]
    )
    def test_is_completed_after_a_crash(self, run_dag, monkeypatch, results_dir, module, function) -> None:
        hooks = import_module(f"confidential_spark.hooks.results.{module}")
        real, crashes = getattr(hooks, function), iter([True])

        def crash_once(*args):
            if next(crashes, False):
                raise RuntimeError("the worker dies here")
            return real(*args)

        monkeypatch.setattr(hooks, function, crash_once)
        run = run_dag("sparkpi_local", partitions=1)
        assert run.state == "success"
        assert run.tries["validation.publish"] == 2
        assert (Path(run.xcoms["validation.publish"]["results"]) / "report.json").is_file()
        assert staged(results_dir) == []


def test_made_up_rows_are_refused_where_real_ones_are_published(real, run_dag, results_dir) -> None:
    assert real.state == "success"
    run = run_dag("nytaxi_local", "2018-08")
    assert run.failed == {"spark.resolve_input"}
    assert run.tries["spark.resolve_input"] == 1
    report = json.loads((results_dir / "nytaxi_local" / "month=2018-08" / "report.json").read_text())
    assert report["synthetic"] is False


def test_a_month_that_contradicts_a_chosen_logical_date_is_refused(run_dag, results_dir) -> None:
    run = run_dag("nytaxi_local", "2018-07", at=datetime(2018, 6, 15, tzinfo=UTC))
    assert run.failed == {"image.resolve_image", "validation.clean_staging"}
    assert run.tries["image.resolve_image"] == 1
    assert not (results_dir / "nytaxi_local" / "month=2018-07").exists()
