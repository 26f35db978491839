"""Commands of a page, run as they are copied."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from confidential_spark.jobs import JOBS
from confidential_spark.ui.results.archive import archive, archive_stem
from confidential_spark.ui.results.live_verification import Judge
from confidential_spark.ui.results.published import Published
from confidential_spark.ui.views import verify_commands as module
from confidential_spark.ui.views.report_view import result_view
from confidential_spark.ui.views.verify_commands import installed_program

from tests.unit.ui.conftest import DAG_ID, KEY, POLICY_FILE, ROOT, RUN_ID


def run(command: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def checkout(deployment, tmp_path):
    """A stranger's checkout after `make install`, with the deployment's policies and jobs."""
    folder = tmp_path / "checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    program = folder / ".venv" / "bin" / "confidential-spark"
    code = f'#!/bin/sh\nPYTHONPATH={ROOT / "plugins"} exec {sys.executable} -m confidential_spark "$@"\n'
    program.write_text(code)
    program.chmod(0o755)
    shutil.copytree(deployment, folder / "include")
    return folder


def test_the_command_for_this_machine_names_everything_and_runs_from_any_folder(publish, judge, tmp_path):
    publish()
    command = result_view(judge, Published(tmp_path).result(DAG_ID, KEY)).verify_command
    status, text = run(command, Path("/"))

    assert shlex.split(command)[-10:] == [
        *("--policy", str(judge.policy_path), "--month", "2018-05", "--job-file", str(judge.job_file)),
        *("--run-id", f"{DAG_ID}/{RUN_ID}", "--at", "2026-11-23T10:00:30Z"),
    ]
    assert (status, text.splitlines()[-1][:8]) == (0, "VERIFIED"), text
    assert "month 2018-05 as expected" in text


def test_the_command_for_an_unpacked_archive_runs_in_a_checkout(publish, judge, tmp_path, checkout):
    stem = archive_stem(DAG_ID, KEY)
    with zipfile.ZipFile(io.BytesIO(archive(publish(), stem))) as file:
        file.extractall(checkout)
    command = result_view(judge, Published(tmp_path).result(DAG_ID, KEY)).archive_command
    status, text = run(command, checkout)

    assert (status, text.splitlines()[-1][:8]) == (0, "VERIFIED"), text


@pytest.mark.parametrize("fault", ["another-month", "another-program"])
def test_the_command_refuses_what_only_month_and_program_tell(publish, judge, tmp_path, fault):
    folder = publish()
    if fault == "another-program":
        judge.job_file.write_bytes(b"another program")
    else:
        other = publish(key="month=2018-06")
        shutil.rmtree(folder)
        shutil.copytree(other, folder)
    command = result_view(judge, Published(tmp_path).result(DAG_ID, KEY)).verify_command
    status, text = run(command, tmp_path)

    assert (status, text.splitlines()[-1][:7]) == (1, "REFUSED"), text


def test_a_job_without_months_is_named_by_its_run(publish, deployment, tmp_path):
    judge = Judge(
        "sparkpi_local", JOBS["sparkpi"], deployment / "policies/simulation.yaml", deployment / "jobs"
    )
    from confidential_spark.jobs.job import publication_key

    key = publication_key(JOBS["sparkpi"], None, "manual")
    publish("sparkpi_local", key, run_id="manual")
    command = result_view(judge, Published(tmp_path).result("sparkpi_local", key)).verify_command

    assert "--month" not in command
    assert "--run-id sparkpi_local/manual" in command
    assert run(command, tmp_path)[0] == 0


def test_keys_that_the_policy_does_not_pin_are_fetched_first(publish, judge, tmp_path):
    policy = {**POLICY_FILE, "attestation": {"issuer": "https://provider.weu.attest.azure.net"}}
    judge.policy_path.write_text(yaml.safe_dump(policy))
    judge = Judge(DAG_ID, JOBS["nytaxi"], judge.policy_path, judge.job_file.parent)
    publish()
    fetch, command = result_view(judge, Published(tmp_path).result(DAG_ID, KEY)).verify_command.split(" &&\n")

    assert shlex.split(fetch)[-3:] == ["-o", "signing-keys.json", f"{judge.keys_of}/certs"]
    assert "--jwks signing-keys.json" in command


def test_blanks_and_markup_in_names_stay_one_argument(publish, judge, tmp_path):
    publish(run_id="manual; $(touch owned) <b>'x'")
    command = result_view(judge, Published(tmp_path).result(DAG_ID, KEY)).verify_command
    status, text = run(command, tmp_path)

    assert status == 0, text
    assert not (tmp_path / "owned").exists()


def test_without_an_installed_package_the_plugins_folder_is_the_program(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "access", lambda *_: False)

    assert run(shlex.join([*installed_program(), "verify", "--help"]), tmp_path)[0] == 0
