"""Agents of one run and Azurite: what the pipeline signs for them is what they need, and no more."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.executor import executor
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.hooks.blob.work import WorkFolder

from tests.support.azure.azurite import KEY
from tests.unit.agent.conftest import launch  # noqa: F401 - fixtures
from tests.unit.agent.executors.conftest import anchor_file, cluster, service  # noqa: F401
from tests.unit.agent.executors.test_distributed_run import started

CONTAINER, FOLDER = "exchange", "yellow/puYear=2018/puMonth=5"
MONTH = {
    "part 0+%.parquet": b"trips",
    "part-1 \N{LATIN SMALL LETTER E WITH ACUTE}.parquet": b"more" * 3_000_000,
}
LIFETIME = timedelta(hours=1)


@pytest.fixture(scope="module")
def blobs(storage):
    """The month's blobs as `resolve_input` lists them."""
    container = storage.client().create_container(CONTAINER)
    listed = []
    for name, content in MONTH.items():
        etag = container.get_blob_client(f"{FOLDER}/{name}").upload_blob(content)["etag"]
        listed.append({"name": name, "bytes": len(content), "etag": etag.strip('"')})
    return listed


@pytest.fixture
def run(connect, storage, blobs, cluster, tmp_path):  # noqa: F811
    """Starts a driver whose input and results are blobs; its executors are told of neither."""
    connect(password=KEY)
    location = f"{storage.endpoint}/{CONTAINER}/{FOLDER}"

    def run(results_blob):
        records = BlobMonth(location).rights(blobs, LIFETIME)
        told = {"input": location, "input_files": records, "results_blob": results_blob}
        return started(cluster, tmp_path, beside={"input": None}, **told)

    return run


@pytest.fixture
def work(connect, storage, blobs):
    connect(password=KEY)
    return WorkFolder(f"{storage.endpoint}/{CONTAINER}/work")


def test_a_run_takes_its_month_from_blobs_and_leaves_its_results_in_one(run, work, tmp_path):
    with run(work.results_blob("d/r", "try", LIFETIME)) as begun:
        executor(begun.beside)
        begun.finish()
    whole = b"".join(MONTH.values())
    assert (tmp_path / "seen-by-executor").read_bytes() == whole
    assert (tmp_path / "seen-by-driver").read_bytes() == whole
    target = tmp_path / "fetched"
    target.mkdir()
    work.fetch("d/r", "try", target)
    assert {path.name for path in target.iterdir()} == {"summary.json", "envelope.json"}
    assert json.loads((target / "envelope.json").read_bytes())["signatures"]
    assert list(Path(begun.spec.results_dir).iterdir()) == []


def refusal_of(run, blob) -> AgentError:
    with run(blob) as begun:
        executor(begun.beside)
        with pytest.raises(AgentError) as caught:
            begun.finish()
    assert "sig=" not in str(caught.value)
    return caught.value


def test_the_right_to_one_blob_is_no_right_to_another(run, work):
    blob = work.results_blob("d/r", "other-try", LIFETIME)
    error = refusal_of(run, blob | {"url": blob["url"].replace("other-try", "their-try")})
    assert (error.code, "AuthorizationFailure" in str(error) or "AuthenticationFailed" in str(error)) == (
        "results-not-uploaded",
        True,
    )


def test_a_right_that_has_expired_is_named(run, work):
    error = refusal_of(run, work.results_blob("d/r", "late", timedelta(minutes=-30)))
    assert error.code == "results-not-uploaded"


def test_what_another_has_written_stays(run, work, storage):
    blob = work.results_blob("d/r", "taken", LIFETIME)
    container = storage.client().get_container_client(CONTAINER)
    container.upload_blob("work/tries/d/r/taken.tar", b"another's")
    error = refusal_of(run, blob)
    assert (error.code, "BlobAlreadyExists" in str(error)) == ("results-not-uploaded", True)
    assert container.download_blob("work/tries/d/r/taken.tar").readall() == b"another's"
