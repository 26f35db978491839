"""The platform check of `dcsv3` on a real engine: what it says, and that it leaves nothing there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.check_rows import NOT_LOOKED_AT, Status
from confidential_spark.core.platforms import Platform
from confidential_spark.operators.image import IMAGE_ASSETS
from confidential_spark.platforms.docker.check.host import CHECK_LABEL
from confidential_spark.platforms.docker.check.rows import ENGINE_ROWS, HOST_ROWS
from confidential_spark.platforms.docker.check.task import IMAGE_ROWS, DockerCheckOperator
from confidential_spark.platforms.docker.engine import LOCAL_SOCKET
from confidential_spark.settings import get_settings

from tests.docker.stub_image import stub_image
from tests.support.factories.approvals import approve

if TYPE_CHECKING:
    from collections.abc import Callable

    from confidential_spark.core.check_rows import CheckRow, PlatformReport
    from confidential_spark.enclave.image import EnclaveImage

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stub(engine, base_image) -> EnclaveImage:
    """An image whose program is never started by a check."""
    return stub_image(engine, base_image, "echo 'the agent was started'; exit 99")


@pytest.fixture
def include(tmp_path) -> Path:
    """The policies of a deployment with a ledger of its own, in which nothing is approved yet."""
    include = tmp_path / "include"
    shutil.copytree(get_settings().include_dir / "policies", include / "policies")
    (include / "policies/approvals-simulated.jsonl").unlink(missing_ok=True)
    return include


@pytest.fixture
def check(engine, include, tmp_path, deploy, monkeypatch) -> Callable[..., PlatformReport]:
    """Looks at the engine as a deployment with these settings would, with an image published or not."""
    usual = {
        "include_dir": include,
        "results_dir": tmp_path / "results",
        "dcsv3_policy": "simulation-image",
        "dcsv3_memory": "1g",
    }

    def look(image: EnclaveImage | None = None, **settings: Any) -> PlatformReport:
        deploy(**(usual | settings))
        host = os.environ.get("DOCKER_HOST") or LOCAL_SOCKET
        monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", json.dumps({"conn_type": "docker", "host": host}))
        published = [SimpleNamespace(extra=image.to_xcom())] if image else []
        events = dict.fromkeys(IMAGE_ASSETS.values(), published)
        operator = DockerCheckOperator(task_id="check_dcsv3", platform=Platform.DCSV3)
        ti = SimpleNamespace(get_dr_count=lambda **_: 0)
        report = operator.report({"ti": ti, "inlet_events": events})
        assert engine.containers.list(all=True, filters={"label": CHECK_LABEL}) == []
        return report

    return look


def rows_of(report: PlatformReport) -> dict[str, CheckRow]:
    return {row.name: row for row in report.rows}


def test_an_approved_image_is_ready_for_simulation_and_says_what_is_not_here(check, include, stub):
    approve(include, stub)
    report = check(stub)
    rows = rows_of(report)

    assert report.is_ready, report.table()
    assert list(rows) == [*ENGINE_ROWS, "leftovers", *IMAGE_ROWS, *HOST_ROWS, "attestation"]
    assert rows["container"].status is Status.OK
    assert "SIMULATED" in report.verdict
    if not Path("/dev/sgx_enclave").exists():
        assert rows["sgx-devices"].status is Status.NOT_HERE
        assert "not passed" in report.counts


def test_the_real_enclave_image_can_look_around(check, include, enclave_image):
    approve(include, enclave_image)
    report = check(enclave_image)

    assert report.is_ready, report.table()


def test_nothing_of_an_image_that_nobody_approved_is_started(check, stub):
    report = check(stub)
    rows = rows_of(report)

    assert [row.name for row in report.failed] == ["measurement"]
    assert {rows[name].got for name in HOST_ROWS} == {f"{NOT_LOOKED_AT}: correct image first"}


@pytest.mark.parametrize(
    ("changes", "failed", "code"),
    [
        pytest.param({}, "image", "image-not-found", id="never-published"),
        pytest.param({"dcsv3_image": "sha256:" + "0" * 64}, "image", "image-not-found", id="removed"),
        pytest.param({"dcsv3_policy": "absent"}, "policy", "policy-unreadable", id="no-such-policy"),
        pytest.param({"dcsv3_memory": "4096g"}, "memory", "GiB", id="more-memory-than-the-host-has"),
    ],
)
def test_what_would_fail_a_run_is_a_failure_with_its_name(check, changes, failed, code):
    report = check(**changes)

    assert not report.is_ready
    assert code in rows_of(report)[failed].got
    assert rows_of(report)[failed].action


def test_an_image_for_the_other_kind_of_enclave_is_refused(check, stub):
    report = check(dcsv3_image=stub.reference, dcsv3_policy="production")

    assert "image-trust-mismatch" in rows_of(report)["image"].got
    assert report.trust == "hardware"


def test_a_container_that_cannot_start_is_named(check, include, stub):
    approve(include, stub)
    report = check(stub, dcsv3_cores=200)

    assert "docker-refused" in rows_of(report)["container"].got
    assert "CPUs" in rows_of(report)["container"].got
    assert rows_of(report)["disk"].got == f"{NOT_LOOKED_AT}: correct container first"
