from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from confidential_spark.agent.attestation import measurement
from confidential_spark.agent.attestation.measurement import (
    IDENTITY_VARIABLE,
    simulated_enclave,
    simulated_measurement,
)
from confidential_spark.agent.errors import AgentError


@pytest.fixture
def jobs(tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "a.py").write_text("print(1)\n")
    return folder


@pytest.fixture
def agent(tmp_path, monkeypatch):
    copy = tmp_path / "agent"
    shutil.copytree(measurement.AGENT_DIR, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(measurement, "AGENT_DIR", copy)
    return copy


def test_does_not_depend_on_place_time_or_caches(jobs, tmp_path):
    before = simulated_measurement(jobs)
    moved = tmp_path / "elsewhere"
    shutil.copytree(jobs, moved)
    (moved / "__pycache__").mkdir()
    (moved / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"cache")
    (moved / "README.md").write_text("not a program")
    assert simulated_measurement(moved) == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda agent, jobs: (jobs / "a.py").write_text("print(2)\n"), id="job-changed"),
        pytest.param(lambda agent, jobs: (jobs / "b.py").write_text(""), id="job-added"),
        pytest.param(lambda agent, jobs: (jobs / "a.py").rename(jobs / "c.py"), id="job-renamed"),
        pytest.param(lambda agent, jobs: (agent / "runner.py").write_text("# other"), id="agent-changed"),
        pytest.param(lambda agent, jobs: (agent / "attestation/quote.py").unlink(), id="agent-file-missing"),
        pytest.param(
            lambda agent, jobs: (agent / "attestation/quote.py").rename(jobs / "quote.py"),
            id="moved-from-agent-to-jobs",
        ),
    ],
)
def test_every_change_of_a_program_changes_it(agent, jobs, change):
    before = simulated_measurement(jobs)
    change(agent, jobs)
    assert simulated_measurement(jobs).mrenclave != before.mrenclave


def test_signer_and_versions_are_the_development_ones(jobs):
    found = simulated_measurement(jobs)
    assert found.mrsigner == hashlib.sha256(b"confidential-spark development signer v1").hexdigest()
    assert (found.product_id, found.svn) == (1, 2)
    assert found.image_digest == f"sha256:{found.mrenclave}"


def test_no_jobs_is_an_error(tmp_path):
    with pytest.raises(AgentError, match="jobs-missing"):
        simulated_measurement(tmp_path)


STATED = {"mrenclave": "11" * 32, "mrsigner": "22" * 32, "product_id": 3, "svn": 4, "debuggable": True}


def test_inside_the_image_the_enclave_is_who_occlum_says(monkeypatch):
    monkeypatch.setenv(IDENTITY_VARIABLE, json.dumps(STATED))

    assert vars(simulated_enclave(None)) == STATED


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param("{", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param(json.dumps({"mrenclave": "11" * 32}), id="incomplete"),
    ],
)
def test_an_identity_that_is_not_readable_is_refused(monkeypatch, stated):
    monkeypatch.setenv(IDENTITY_VARIABLE, stated)

    with pytest.raises(AgentError, match="identity-malformed"):
        simulated_enclave(None)


def test_without_image_and_jobs_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.delenv(IDENTITY_VARIABLE, raising=False)

    with pytest.raises(AgentError, match="jobs-dir-missing"):
        simulated_enclave(None)
