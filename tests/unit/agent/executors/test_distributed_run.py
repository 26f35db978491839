"""`run` and `executor` together: what both read, with shell scripts in Java's place."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confidential_spark.agent import runner
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.executor import executor

from tests.unit.agent.executors.test_executor import TOLD

# A run that fails before it starts Java would leave the test waiting at a pipe.
pytestmark = pytest.mark.timeout(60)
SUMMARY = '{"job": "nytaxi", "rows": {"input": 3, "accepted": 2, "rejected": 1}}'
# Says that it runs, and ends when the executor has. The two pipes are beside the work folder.
DRIVER = f"""#!/bin/sh
here=$(dirname "$0")
for value; do case "$value" in file://*) input=${{value#file://}} ;; esac; results=$value; done
echo "$input" > "$here/started"
read -r _ < "$here/let-go"
cat "$input"/*.parquet > "$results/seen"
echo '{SUMMARY}' > "$results/summary.json"
"""
EXECUTOR = '#!/bin/sh\ncat "$HOME"/input/*.parquet > "$(dirname "$0")/seen-by-executor"\n'


@pytest.fixture
def volume(tmp_path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"trips")
    return folder


@pytest.fixture
def start(cluster, tmp_path, volume):
    """Start a driver; yields how to run executors beside it, and what its `run` came to."""
    java = {}
    for name, script in (("driver", DRIVER), ("executor", EXECUTOR)):
        java[name] = tmp_path / name
        java[name].write_text(script)
        java[name].chmod(0o755)
    for pipe in ("started", "let-go"):
        os.mkfifo(tmp_path / pipe)
    spec = cluster(java=str(java["driver"]), input=volume.as_uri())
    beside = cluster(
        java=str(java["executor"]),
        input=volume.as_uri(),
        spark_conf=None,
        executor=TOLD,
        work_dir=str(tmp_path / "executor-work"),
    )
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(runner.run, spec)
        read_by_spark = (tmp_path / "started").read_text().strip()
        yield spec, beside, read_by_spark, ended


def let_go(tmp_path: Path) -> None:
    (tmp_path / "let-go").write_text("\n")


def test_driver_and_executor_read_private_copies_of_the_same_bytes(start, tmp_path, volume):
    """The host exchanges the month as soon as both have their copies."""
    spec, beside, read_by_spark, ended = start
    assert read_by_spark == str(Path(spec.work_dir) / "input")
    executor(beside)
    (volume / "a.parquet").write_bytes(b"TRIPS")
    let_go(tmp_path)
    ended.result(60)
    assert (tmp_path / "seen-by-executor").read_bytes() == b"trips"
    assert (Path(spec.results_dir) / "seen").read_bytes() == b"trips"
    envelope = json.loads((Path(spec.results_dir) / "envelope.json").read_text())
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    assert predicate["inputs"] == [
        {"uri": f"{spec.input}/a.parquet", "bytes": 5, "sha256": hashlib.sha256(b"trips").hexdigest()}
    ]
    assert [record["id"] for record in predicate["executors"]] == [TOLD["executor_id"]]


def test_an_executor_of_a_host_that_lies_does_no_work(start, tmp_path, volume):
    _, beside, _, ended = start
    (volume / "a.parquet").write_bytes(b"TRIPS")
    with pytest.raises(AgentError, match="executor-input-differs"):
        executor(beside)
    let_go(tmp_path)
    ended.result(60)
    assert not (tmp_path / "seen-by-executor").exists()


def test_input_that_no_executor_would_take_starts_no_spark(cluster, tmp_path, volume):
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    java.chmod(0o755)
    (volume / "a\n.parquet").touch()
    spec = cluster(java=str(java), input=volume.as_uri())
    with pytest.raises(AgentError, match="input-not-listable"):
        runner.run(spec)
    assert not (tmp_path / "started").exists()
    assert list(Path(spec.work_dir).iterdir()) == []
