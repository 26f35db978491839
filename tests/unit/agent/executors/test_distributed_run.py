"""`run` and `executor` together: what both read, with shell scripts in Java's place."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.agent import runner
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.executors.executor import executor

from tests.support.azure.blob_account import BlobAccount
from tests.support.fakes.faulty_service import FaultyService
from tests.unit.agent.executors.test_executor import TOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confidential_spark.agent.launch.launch_file import LaunchSpec

SUMMARY = '{"job": "nytaxi", "rows": {"input": 3, "accepted": 2, "rejected": 1}}'
# Called with -s -P JOB COMMAND …; the last argument of the command `finish` is the results folder.
PYTHON = f"""#!/bin/sh
[ "$4" != query ] || {{ echo '{{"job": "nytaxi"}}'; exit 0; }}
for results; do :; done
echo '{SUMMARY}' > "$results/summary.json"
"""
# Says that it runs and what it reads, and ends when the executor has; by pipes beside the work folder.
DRIVER = """#!/bin/sh
here=$(dirname "$0")
for value; do case "$value" in file://*) input=${value#file://} ;; esac; done
echo "$input" > "$here/started"
read -r _ < "$here/let-go"
cat "$input"/*.parquet > "$here/seen-by-driver"
"""
EXECUTOR = '#!/bin/sh\ncat "$HOME"/../../input/*.parquet > "$(dirname "$0")/seen-by-executor"\n'


@pytest.fixture
def volume(tmp_path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"trips")
    return folder


@dataclass
class Run:
    """A driver whose Spark waits until the test lets it go on.

    :param spec: the driver's launch; ``beside`` is an executor's.
    :param reads: the folder that Spark was told to read.
    """

    spec: LaunchSpec
    beside: LaunchSpec
    reads: str
    ended: Future[None]
    gate: int

    def finish(self) -> None:
        os.write(self.gate, b"\n")
        self.ended.result()


@contextmanager
def started(cluster, tmp_path, *, beside: dict[str, object], **of_driver: object) -> Iterator[Run]:
    """Start a driver, and wait until its Spark waits.

    :param beside: keys of the executor's launch.
    """
    for name, script in (("python", PYTHON), ("driver", DRIVER), ("executor", EXECUTOR)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    for name in ("started", "let-go"):
        os.mkfifo(tmp_path / name)
    python = str(tmp_path / "python")
    spec = cluster(java=str(tmp_path / "driver"), python=python, **of_driver)
    executors = {
        "java": str(tmp_path / "executor"),
        "python": python,
        "work_dir": str(tmp_path / "executor-work"),
        "spark_conf": None,
        "executor": TOLD,
    }
    # Open at both ends, so that nobody waits for whom a failure has kept from coming.
    begun, gate = (os.open(tmp_path / name, os.O_RDWR) for name in ("started", "let-go"))
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(runner.run, spec)
        ended.add_done_callback(lambda _: os.write(begun, b"\n"))
        if not (reads := os.read(begun, 4096).decode().strip()):
            ended.result()
        yield Run(spec, cluster(**executors | beside), reads, ended, gate)
        os.write(gate, b"\n")
    os.close(begun)
    os.close(gate)


@pytest.fixture
def run(cluster, tmp_path, volume) -> Iterator[Run]:
    place = {"input": volume.as_uri()}
    with started(cluster, tmp_path, beside=place, **place) as run:
        yield run


@pytest.fixture
def account() -> BlobAccount:
    return BlobAccount({"a b.parquet": b"trips", "b.parquet": b"more"}, "0x8D4", "sv=1&sp=r&sig=CANARY%3D")


@pytest.fixture
def storage(account) -> Iterator[FaultyService]:
    with FaultyService(proper=account) as storage:
        yield storage


@pytest.fixture
def of_blobs(cluster, tmp_path, account, storage) -> Callable[..., Any]:
    """Start a run whose driver is told of the blobs; its executors' launch says nothing of them."""

    def of_blobs(**changes: object) -> Any:
        told = {"input": f"{storage.url}/trips", "input_files": account.listed(), **changes}
        return started(cluster, tmp_path, beside={"input": None}, **told)

    return of_blobs


def test_driver_and_executor_read_private_copies_of_the_same_bytes(run, tmp_path, volume):
    """The host exchanges the month as soon as both have their copies."""
    assert run.reads == str(Path(run.spec.work_dir) / "input")
    executor(run.beside)
    (volume / "a.parquet").write_bytes(b"TRIPS")
    run.finish()
    assert (tmp_path / "seen-by-executor").read_bytes() == b"trips"
    assert (tmp_path / "seen-by-driver").read_bytes() == b"trips"
    envelope = json.loads((Path(run.spec.results_dir) / "envelope.json").read_text())
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    assert predicate["inputs"] == [
        {"uri": f"{run.spec.input}/a.parquet", "bytes": 5, "sha256": hashlib.sha256(b"trips").hexdigest()}
    ]
    assert [record["id"] for record in predicate["executors"]] == [TOLD["executor_id"]]


def test_an_executor_of_a_host_that_lies_does_no_work(run, tmp_path, volume):
    (volume / "a.parquet").write_bytes(b"TRIPS")
    with pytest.raises(AgentError, match="executor-input-differs"):
        executor(run.beside)
    run.finish()
    assert not (tmp_path / "seen-by-executor").exists()


def test_input_that_no_executor_would_take_starts_no_spark(cluster, tmp_path, volume):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    program.chmod(0o755)
    (volume / "a\n.parquet").touch()
    spec = cluster(java=str(program), python=str(program), input=volume.as_uri())
    with pytest.raises(AgentError, match="input-not-listable"):
        runner.run(spec)
    assert not (tmp_path / "started").exists()
    assert list(Path(spec.work_dir).iterdir()) == []


def test_driver_and_executor_download_the_same_blobs(of_blobs, tmp_path, storage, capfd):
    with of_blobs() as run:
        executor(run.beside)
        run.finish()
    assert (tmp_path / "seen-by-executor").read_bytes() == b"tripsmore"
    assert (tmp_path / "seen-by-driver").read_bytes() == b"tripsmore"
    assert len(storage.requests) == 4
    envelope = json.loads((Path(run.spec.results_dir) / "envelope.json").read_text())
    inputs = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["inputs"]
    assert [file["uri"] for file in inputs] == [
        f"{storage.url}/trips/{name}" for name in ("a%20b.parquet", "b.parquet")
    ]
    assert "CANARY" not in "".join(capfd.readouterr())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]


def other_bytes(account: BlobAccount) -> None:
    """The version is the listed one: storage, or something in its place, does not say the truth."""
    account.content["b.parquet"] = b"MORE"


@pytest.mark.parametrize(
    ("harm", "code", "exit_code"),
    [
        pytest.param(other_bytes, "executor-input-differs", ExitCode.INPUT_CHANGED, id="other-bytes"),
        pytest.param(
            lambda account: setattr(account, "etag", "0x9"),
            "storage-blob-changed",
            ExitCode.INPUT_CHANGED,
            id="replaced",
        ),
        pytest.param(
            lambda account: account.content.pop("b.parquet"),
            "storage-blob-missing",
            ExitCode.INPUT_UNUSABLE,
            id="removed",
        ),
        pytest.param(
            lambda account: setattr(account, "sas", "sv=1&sp=r&sig=other"),
            "storage-denied",
            ExitCode.INPUT_UNUSABLE,
            id="revoked",
        ),
        pytest.param(
            lambda account: account.content.update({"b.parquet": b"longer"}),
            "storage-garbage",
            ExitCode.INPUT_UNUSABLE,
            id="longer",
        ),
    ],
)
def test_an_executor_that_gets_other_blobs_does_no_work(of_blobs, account, tmp_path, harm, code, exit_code):
    with of_blobs() as run:
        harm(account)
        with pytest.raises(AgentError) as caught:
            executor(run.beside)
        run.finish()
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "CANARY" not in str(caught.value)
    assert not (tmp_path / "seen-by-executor").exists()
    assert list(Path(run.beside.work_dir).iterdir()) == []


def test_an_executor_asks_where_the_driver_did_whatever_its_host_says(of_blobs, tmp_path, storage):
    """A host that could choose the address would get the rights to read the input."""
    with FaultyService(proper=storage.proper) as elsewhere, of_blobs() as run:
        blob = {"name": "b.parquet", "bytes": 4, "etag": "0x8D4", "sas": ""}
        executor(replace(run.beside, input=f"{elsewhere.url}/trips", input_files=[blob]))
        run.finish()
    assert elsewhere.requests == []
    assert (tmp_path / "seen-by-executor").read_bytes() == b"tripsmore"
