"""The agent as a child process, played by small programs: followed, named when it fails, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.local import process as enclave_process
from confidential_spark.platforms.local.process import EnclaveProcess, agent_environment

from tests.integration.live_airflow import wait_until
from tests.support.places import ROOT

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
POLITE = "import time; print('up', flush=True); time.sleep(600)"


class FakeEnclave:
    """An enclave process whose agent is a line of Python."""

    def __init__(self, program: str) -> None:
        self.lines: list[str] = []
        self.records: list[Any] = []
        self.up = threading.Event()
        self.process = EnclaveProcess(
            "run", Path("launch.json"), log=self.keep, on_progress=lambda record: self.records.append(record)
        )
        self.process.argv = [sys.executable, "-u", "-c", program]

    def keep(self, line: str) -> None:
        self.lines.append(line)
        self.up.set()

    def run_in_background(self) -> threading.Thread:
        thread = threading.Thread(target=self.run_quietly)
        thread.start()
        assert self.up.wait(60)
        return thread

    def run_quietly(self) -> None:
        try:
            self.process.run()
        except EnclaveError as error:
            self.lines.append(str(error))


def progress(done: int) -> str:
    return f"""print('PROGRESS {{"stage":"spark","done":{done},"total":9,"text":"reading"}}')"""


def test_logs_lines_and_reports_progress_apart() -> None:
    enclave = FakeEnclave(f"print('hello'); {progress(1)}; print('PROGRESS nonsense'); print('bye')")
    enclave.process.run()
    assert enclave.lines == ["hello", "PROGRESS nonsense", "bye"]
    assert enclave.records == [{"stage": "spark", "done": 1, "total": 9, "text": "reading"}]


def test_reports_progress_seldom() -> None:
    enclave = FakeEnclave("; ".join(progress(done) for done in range(9)))
    enclave.process.run()
    assert [record["done"] for record in enclave.records] == [0]


def test_bytes_that_are_no_text_do_not_end_it() -> None:
    enclave = FakeEnclave(r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n')")
    enclave.process.run()
    assert enclave.lines == ["\N{REPLACEMENT CHARACTER}" * 2]


@pytest.mark.parametrize(
    ("program", "code", "retryable"),
    [
        pytest.param("raise SystemExit(75)", "attestation-unreachable", True, id="service-away"),
        pytest.param("raise SystemExit(71)", "attestation-refused", False, id="refused"),
        pytest.param("raise SystemExit(65)", "launch-invalid", False, id="bad-launch"),
        pytest.param("raise SystemExit(143)", "terminated", True, id="stopped"),
        pytest.param("raise SystemExit(3)", "failure-without-a-name", False, id="unknown"),
        pytest.param(
            "print('[input-missing] no month'); raise SystemExit(80)", "month-missing", False, id="by-its-log"
        ),
        pytest.param("import os; os.kill(os.getpid(), 9)", "killed-out-of-memory", False, id="killed"),
    ],
)
def test_a_failure_has_a_name(program: str, code: str, retryable: bool) -> None:
    with pytest.raises(EnclaveError) as failure:
        FakeEnclave(program).process.run()
    assert (failure.value.code, failure.value.retryable) == (code, retryable)


def test_stop_ends_it_and_is_harmless_before_and_after() -> None:
    enclave = FakeEnclave(POLITE)
    enclave.process.stop()
    thread = enclave.run_in_background()
    enclave.process.stop()
    thread.join(60)
    assert not thread.is_alive()
    enclave.process.stop()
    assert any("[terminated]" in line for line in enclave.lines)


def test_stop_kills_what_does_not_listen(monkeypatch) -> None:
    monkeypatch.setattr(enclave_process, "TERM_PATIENCE_SECONDS", 0.2)
    enclave = FakeEnclave(STUBBORN)
    thread = enclave.run_in_background()
    enclave.process.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_an_interrupted_wait_ends_it() -> None:
    def interrupt(line: str) -> None:
        raise TimeoutError("the task's time is over")

    enclave = FakeEnclave("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    enclave.process.output.log = interrupt
    with pytest.raises(TimeoutError):
        enclave.process.run()
    process = enclave.process._process
    assert process is not None
    assert process.returncode == -signal.SIGTERM


def test_the_real_agent_ends_when_its_worker_is_killed(tmp_path: Path) -> None:
    """The worker dies without a word while the agent waits for an attestation service that never answers."""
    worker = f"""
import socket, sys
from pathlib import Path
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.agent.protocol import b64url
from confidential_spark.platforms.local.process import EnclaveProcess
silent = socket.create_server(("127.0.0.1", 0))
launch = Path({str(tmp_path)!r}) / "launch.json"
LaunchSpec(nonce=b64url(bytes(32)), run_id="r", results_dir={str(tmp_path / "results")!r},
    attestation_url=f"http://127.0.0.1:{{silent.getsockname()[1]}}", attestation_api_version="2022-08-01",
    quote_provider="software", jobs_dir={str(ROOT / "include" / "jobs")!r}).write(launch)
enclave = EnclaveProcess("attest", launch, log=lambda line: None,
    on_progress=lambda record: print(enclave._process.pid, flush=True))
enclave.run()
"""
    parent = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    agent = int(parent.stdout.readline())
    assert runs(agent)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not runs(agent), "the agent is gone", 60)
    assert list((tmp_path / "results").iterdir()) == []


def runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_agent_sees_none_of_airflows_secrets(monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "k")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s")
    environment = agent_environment()
    assert environment["PATH"] == os.environ["PATH"]
    assert not {"AIRFLOW__CORE__FERNET_KEY", "AZURE_CLIENT_SECRET"} & environment.keys()
