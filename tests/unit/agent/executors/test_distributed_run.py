"""`run` and `executor` together: what both read, with shell scripts in Java's place."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent import runner
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.executor import executor

from tests.unit.agent.executors.test_executor import TOLD

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def run(cluster, tmp_path, volume) -> Iterator[Run]:
    for name, script in (("python", PYTHON), ("driver", DRIVER), ("executor", EXECUTOR)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    for name in ("started", "let-go"):
        os.mkfifo(tmp_path / name)
    of_both = {"input": volume.as_uri(), "python": str(tmp_path / "python")}
    spec = cluster(java=str(tmp_path / "driver"), **of_both)
    beside = cluster(
        java=str(tmp_path / "executor"),
        work_dir=str(tmp_path / "executor-work"),
        spark_conf=None,
        executor=TOLD,
        **of_both,
    )
    # Open at both ends, so that nobody waits for whom a failure has kept from coming.
    started, gate = (os.open(tmp_path / name, os.O_RDWR) for name in ("started", "let-go"))
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(runner.run, spec)
        ended.add_done_callback(lambda _: os.write(started, b"\n"))
        if not (reads := os.read(started, 4096).decode().strip()):
            ended.result()
        yield Run(spec, beside, reads, ended, gate)
        os.write(gate, b"\n")
    os.close(started)
    os.close(gate)


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
