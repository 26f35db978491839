"""`run_spark` on a real engine: what the container may do, how it ends, and that nothing is left of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time.timeout import TimeoutPosix
from confidential_spark.jobs.sparkpi import SPARKPI
from confidential_spark.operators.attempt import LOG_POSITION_KEY
from confidential_spark.operators.base import RunScope
from confidential_spark.operators.platform_check import leftovers_row
from confidential_spark.platforms.docker.container import NONCE_LABEL
from confidential_spark.platforms.docker.operators import CleanDockerRunOperator, remove_abandoned
from confidential_spark.settings import forget_settings, get_settings

from tests.docker.one_try import DAG_ID, TASK_ID, OneTry
from tests.docker.stub_image import SIGN, stub_image
from tests.integration.live_airflow import wait_until
from tests.support.fakes.docker_gate import DockerGate
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient
    from docker.models.containers import Container

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
SLEEPS = "trap 'exit 143' TERM; echo up; sleep 600 & wait"
SOCKET = "/var/run/docker.sock"


def address(socket: object) -> str:
    return json.dumps({"conn_type": "docker", "host": f"unix://{socket}"})


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch) -> Iterator[None]:
    """A deployment whose engine is this machine's."""
    monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("CONFIDENTIAL_SPARK_DCSV3_MEMORY", "2g")
    monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", address(SOCKET))
    forget_settings()
    yield
    forget_settings()


class Bench:
    """Makes tries with agents of shell, and knows which containers and volumes are theirs."""

    def __init__(self, engine: DockerClient, base: str, folder: Path) -> None:
        self.engine, self.base, self.folder = engine, base, folder
        self.label = f"org.confidential-spark.run=manual__{folder.name}"
        folder.mkdir()

    def a_try(self, script: str, trust: str = "simulated", **changes: Any) -> OneTry:
        return OneTry(self.folder, stub_image(self.engine, self.base, script, trust=trust), **changes)

    def containers(self) -> list[Container]:
        # The engine lists a container a moment before it lets anybody inspect it.
        found = self.engine.containers.list(all=True, filters={"label": self.label}, ignore_removed=True)
        return list(found)

    def the_container(self) -> Container:
        """Return the container, once it runs."""
        [found] = wait_until(lambda: [c for c in self.containers() if c.status == "running"], "it runs", 60)
        return found

    def in_background(self, one: OneTry) -> tuple[threading.Thread, list[BaseException]]:
        """Run a try in a thread; what it raises is in the list afterwards."""
        errors: list[BaseException] = []

        def run() -> None:
            try:
                one.execute()
            except (AirflowException, AirflowFailException) as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, errors

    def worker(self, one: OneTry) -> subprocess.Popen[str]:
        """Run a try in a process of its own."""
        one.store()
        return subprocess.Popen(
            [sys.executable, "-m", "tests.docker.one_try", str(one.folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=(one.folder / "worker.log").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill_worker_while_it_runs(self, one: OneTry, said: str = "up") -> Container:
        """Start a try, kill its worker with the container at work, and return the container."""
        worker = self.worker(one)
        container = self.the_container()
        wait_until(lambda: said in self.worker_log(), "the worker has logged", 60)
        worker.send_signal(signal.SIGKILL)
        worker.wait(60)
        return container

    def worker_log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def require_nothing_left(self) -> None:
        assert self.containers() == []
        assert self.engine.volumes.list(filters={"label": self.label}) == []


@pytest.fixture
def bench(engine: DockerClient, base_image: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(engine, base_image, tmp_path / hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    yield bench
    for container in bench.containers():
        container.remove(v=True, force=True)


def results(run: dict[str, str]) -> dict[str, str]:
    return {path.name: path.read_text() for path in Path(run["staging"]).iterdir()}


class TestGoodRun:
    def test_results_arrive_and_nothing_is_left(self, bench: Bench) -> None:
        one = bench.a_try(f"echo 1 > /host/data/results/a; {SIGN}")
        assert results(one.execute()) == {"a": "1\n", "envelope.json": "{}\n"}
        bench.require_nothing_left()
        assert one.server.read()["store"] == {}

    def test_the_months_files_are_sent_and_belong_to_the_enclave(self, bench: Bench, tmp_path: Path) -> None:
        month = tmp_path / "puYear=2018" / "puMonth=5"
        month.mkdir(parents=True)
        (month / "a.parquet").write_bytes(os.urandom(3_000_000))
        (month / "_SUCCESS").write_bytes(b"")
        manifest = {"uri": month.as_uri(), "bytes": 3_000_000}
        look = (
            "cd /host/data/input; sha256sum * > ../results/sums; stat -c '%u %a' a.parquet > ../results/owner"
        )
        run = bench.a_try(f"{look}; {SIGN}", job="nytaxi", manifest=manifest).execute()
        digest = hashlib.sha256((month / "a.parquet").read_bytes()).hexdigest()
        assert results(run)["sums"] == f"{digest}  a.parquet\n"
        assert results(run)["owner"] == "10001 400\n"

    def test_the_agent_is_told_what_to_do_by_the_launch_variable_alone(self, bench: Bench, caplog) -> None:
        look = 'cd /host/data/results; echo "$0 $*" > arguments; printenv ENCLAVE_LAUNCH > launch'
        run = bench.a_try(f"{look}; {SIGN}").execute()
        launch = json.loads(results(run)["launch"])
        assert results(run)["arguments"] == "enclave run\n"
        assert (launch["nonce"], launch["run_id"]) == (run["nonce"], run["run_id"])
        assert (launch["quote_provider"], launch["input"]) == ("software", None)
        assert launch["nonce"] not in caplog.text

    def test_progress_is_kept_for_the_tasks_page(self, bench: Bench) -> None:
        line = json.dumps({"stage": "spark", "done": 1, "total": 2, "text": "reading"})
        one = bench.a_try(f"echo 'PROGRESS {line}'; {SIGN}")
        one.execute()
        assert one.server.get("progress")["text"] == "reading"


class TestLeastRights:
    def test_the_engine_is_asked_for_nothing_more(self, bench: Bench) -> None:
        thread, _ = bench.in_background(bench.a_try(SLEEPS))
        container = bench.the_container()
        host = container.attrs["HostConfig"]
        assert len(bench.engine.volumes.list(filters={"label": bench.label})) == 1
        container.kill()
        thread.join(60)
        assert (host["Privileged"], host["ReadonlyRootfs"], host["NetworkMode"]) == (False, True, "none")
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert (host["Memory"], host["MemorySwap"]) == (2 * 1024**3, 2 * 1024**3)
        assert (host["NanoCpus"], host["PidsLimit"]) == (2_000_000_000, 4096)
        assert [host[name] or None for name in ("Binds", "Devices", "PortBindings")] == [None] * 3
        assert [(mount["Type"], mount["Target"]) for mount in host["Mounts"]] == [("volume", "/host/data")]
        assert container.attrs["Config"]["User"] == "10001:10001"

    def test_it_has_no_more_inside(self, bench: Bench) -> None:
        checks = [
            '[ "$(id -u)" = 10001 ]',
            "grep -q 'CapBnd:.0000000000000000' /proc/self/status",
            "grep -q 'NoNewPrivs:.1' /proc/self/status",
            "! touch /opt/x 2>/dev/null",
            "touch /tmp/x /host/launch/x /opt/enclave/run/x",
            "[ $(grep -c : /proc/net/dev) = 1 ]",
            '[ "$(ulimit -c)" = 0 ]',
            "getent hosts enclave",
        ]
        bench.a_try("set -ex; " + "; ".join(f"({check})" for check in checks) + f"; {SIGN}").execute()

    def test_the_labels_say_whose_it_is(self, bench: Bench) -> None:
        container = bench.kill_worker_while_it_runs(bench.a_try(SLEEPS, map_index=7))
        prefix = "org.confidential-spark."
        assert {
            name.removeprefix(prefix): container.labels[prefix + name.removeprefix(prefix)]
            for name in ("dag", "run", "task", "try", "map-index")
        } == {
            "dag": DAG_ID,
            "run": f"manual__{bench.folder.name}",
            "task": TASK_ID,
            "try": "1",
            "map-index": "7",
        }
        assert container.labels[NONCE_LABEL] == bench.a_try(SLEEPS).server.get("enclave")["run"]["nonce"]


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "name", "final"),
        [
            pytest.param("exit 65", "launch-invalid", True, id="bad-launch"),
            pytest.param("exit 71", "attestation-refused", True, id="refused"),
            pytest.param("exit 75", "attestation-unreachable", False, id="service-away"),
            pytest.param("exit 143", "terminated", False, id="stopped"),
            pytest.param("echo '[input-missing] no month'; exit 80", "month-missing", True, id="by-its-log"),
            pytest.param("exit 3", "failure-without-a-name", True, id="unknown"),
            pytest.param("tail /dev/zero", "killed-out-of-memory", True, id="memory"),
            pytest.param(
                f"ln -s /etc/passwd /host/data/results/x; {SIGN}",
                "results-archive-malformed",
                True,
                id="link",
            ),
        ],
    )
    def test_has_a_name_and_leaves_nothing(self, bench: Bench, script: str, name: str, final: bool) -> None:
        one = bench.a_try(script)
        with pytest.raises(
            AirflowFailException if final else AirflowException, match=rf"\[{name}\]"
        ) as failure:
            one.execute()
        assert isinstance(failure.value, AirflowFailException) is final
        bench.require_nothing_left()
        assert "enclave" not in one.server.read()["store"]

    def test_killed_by_somebody(self, bench: Bench) -> None:
        thread, errors = bench.in_background(bench.a_try(SLEEPS))
        bench.the_container().kill()
        thread.join(60)
        assert "[killed-from-outside]" in str(errors)
        bench.require_nothing_left()

    def test_removed_by_somebody(self, bench: Bench) -> None:
        thread, errors = bench.in_background(bench.a_try(SLEEPS))
        bench.the_container().remove(force=True, v=True)
        thread.join(60)
        assert "[container-lost]" in str(errors)
        bench.require_nothing_left()

    def test_an_image_that_is_gone(self, bench: Bench) -> None:
        one = bench.a_try(f"{SIGN}; : gone")
        bench.engine.images.remove(one.image.reference, force=True)
        with pytest.raises(AirflowFailException, match=r"\[image-not-found\]"):
            one.execute()
        bench.require_nothing_left()

    def test_a_host_without_sgx(self, bench: Bench, monkeypatch) -> None:
        monkeypatch.setenv("CONFIDENTIAL_SPARK_DCSV3_NETWORK", "none")
        connection = {"conn_type": "http", "host": "https://sharedweu.weu.attest.azure.net"}
        monkeypatch.setenv("AIRFLOW_CONN_MAA_DEFAULT", json.dumps(connection))
        forget_settings()
        with pytest.raises(AirflowFailException, match=r"\[sgx-device-missing\].*/dev/sgx_enclave"):
            bench.a_try(SIGN, trust="hardware").execute()
        bench.require_nothing_left()


class TestStopped:
    def test_on_kill_removes_the_container_at_once(self, bench: Bench) -> None:
        one = bench.a_try("trap '' TERM; echo up; while true; do sleep 1; done")
        operator = one.operator()
        errors: list[str] = []

        def run() -> None:
            with pytest.raises(AirflowException) as failure:
                operator.execute(one.context())
            errors.append(str(failure.value))

        thread = threading.Thread(target=run)
        thread.start()
        bench.the_container()
        operator.on_kill()
        bench.require_nothing_left()
        thread.join(60)
        assert len(errors) == 1

    def test_a_task_that_is_asked_to_end(self, bench: Bench) -> None:
        """As Airflow does it: its handler calls `on_kill` in the middle of the task, and returns."""
        one = bench.a_try(SLEEPS)
        operator = one.operator()
        signal.signal(signal.SIGUSR1, lambda number, frame: operator.on_kill())
        killer = threading.Thread(
            target=lambda: (bench.the_container(), os.kill(os.getpid(), signal.SIGUSR1))
        )
        killer.start()
        with pytest.raises(AirflowException, match=r"\[(terminated|container-lost)\]"):
            operator.execute(one.context())
        killer.join(60)
        bench.require_nothing_left()

    def test_a_task_whose_time_is_up(self, bench: Bench) -> None:
        from airflow.sdk.exceptions import AirflowTaskTimeout

        one = bench.a_try(SLEEPS)
        with pytest.raises(AirflowTaskTimeout), TimeoutPosix(4):
            one.execute()
        bench.require_nothing_left()


class TestDeadWorker:
    def test_the_next_try_goes_on_with_the_running_container(self, bench: Bench) -> None:
        gate = "while [ ! -e /host/launch/go ]; do sleep 0.1; done"
        one = bench.a_try(f"echo up; {gate}; echo 1 > /host/data/results/a; {SIGN}")
        container = bench.kill_worker_while_it_runs(one)
        before = one.server.get("enclave")["run"]
        thread, errors = bench.in_background(next_try(one))
        assert [c.id for c in bench.containers()] == [container.id]
        container.exec_run(["touch", "/host/launch/go"])
        thread.join(60)
        assert errors == []
        assert one.server.read()["xcoms"]["enclave_run"] == before
        assert results(before) == {"a": "1\n", "envelope.json": "{}\n"}
        bench.require_nothing_left()

    def test_the_next_try_fetches_from_a_finished_container(self, bench: Bench) -> None:
        one = bench.a_try(f"echo up; sleep 3; {SIGN}")
        container = bench.kill_worker_while_it_runs(one)
        assert container.wait()["StatusCode"] == 0
        started = container.attrs["State"]["StartedAt"]
        container.reload()
        assert container.attrs["State"]["StartedAt"] == started
        assert results(next_try(one).execute()) == {"envelope.json": "{}\n"}
        bench.require_nothing_left()

    def test_a_finished_failure_is_named_by_its_whole_log(self, bench: Bench) -> None:
        one = bench.a_try("echo '[input-missing] no month'; echo up; sleep 3; exit 80")
        bench.kill_worker_while_it_runs(one).wait()
        with pytest.raises(AirflowFailException, match=r"\[month-missing\]"):
            next_try(one).execute()
        bench.require_nothing_left()

    def test_the_log_goes_on_where_it_stopped(self, bench: Bench, capsys) -> None:
        one = bench.a_try(f"echo first; sleep 8; echo up; sleep 3; echo last; {SIGN}")
        bench.kill_worker_while_it_runs(one)
        assert one.server.get(LOG_POSITION_KEY)
        worker = bench.worker(next_try(one))
        assert worker.wait(60) == 0
        second = bench.worker_log()
        assert "first" not in second
        assert "last" in second
        bench.require_nothing_left()

    def test_a_cleared_task_starts_afresh(self, bench: Bench) -> None:
        one = bench.a_try("echo up; [ -e /host/data/input/again ] || sleep 600")
        old = bench.kill_worker_while_it_runs(one)
        fresh = bench.a_try(SIGN, try_number=2, max_tries=4)
        run = fresh.execute()
        assert run["nonce"] != old.labels[NONCE_LABEL]
        bench.require_nothing_left()

    def test_a_container_that_never_started_is_replaced(self, bench: Bench) -> None:
        one = bench.a_try(SIGN)
        run = one.execute()
        bench.engine.api.create_container(
            one.image.reference, ["run"], labels={NONCE_LABEL: run["nonce"]}, volumes=["/host/data"]
        )
        one.server.set("enclave", {"run": run, "max_tries": one.max_tries})
        assert next_try(one).execute()["nonce"] != run["nonce"]
        bench.require_nothing_left()

    @pytest.mark.parametrize("state", [{"run": {"nonce": "x"}, "max_tries": 2}, {"other": 1}, 7, "x"])
    def test_a_state_of_another_version_is_no_hindrance(self, bench: Bench, state: Any) -> None:
        one = bench.a_try(SIGN)
        one.server.set("enclave", state)
        assert results(one.execute()) == {"envelope.json": "{}\n"}


class TestEngineAway:
    def test_a_moment_is_waited_for(self, bench: Bench, tmp_path: Path, monkeypatch) -> None:
        with DockerGate(SOCKET, tmp_path / "gate.sock") as gate:
            monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", address(gate.path))
            one = bench.a_try(f"echo up; sleep 6; {SIGN}")
            thread, errors = bench.in_background(one)
            bench.the_container()
            gate.close()
            thread.join(5)
            assert thread.is_alive()
            gate.open()
            thread.join(60)
        assert errors == []
        bench.require_nothing_left()

    def test_for_long_fails_the_try_and_the_next_one_goes_on(
        self, bench: Bench, tmp_path: Path, monkeypatch
    ) -> None:
        from confidential_spark.platforms.docker import container as enclave_container

        monkeypatch.setattr(enclave_container.EnclaveContainer.__init__, "__kwdefaults__", {"patience": 1.0})
        with DockerGate(SOCKET, tmp_path / "gate.sock") as gate:
            monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", address(gate.path))
            one = bench.a_try(f"echo up; sleep 8; {SIGN}")
            thread, errors = bench.in_background(one)
            container = bench.the_container()
            gate.close()
            thread.join(60)
            assert "[docker-unreachable]" in str(errors)
            assert not isinstance(errors[0], AirflowFailException)
            gate.open()
            run = next_try(one).execute()
        assert run["nonce"] == container.labels[NONCE_LABEL]
        bench.require_nothing_left()


class TestLeftBehind:
    """What a killed worker leaves, and no later try of its run takes over."""

    def teardown(self, one: OneTry, *, unfinished: bool) -> None:
        """Run the last task of another run of the same deployment."""

        def count(*, run_ids: list[str], **_: Any) -> int:
            return int(unfinished and run_ids == [one.run_id])

        ti = SimpleNamespace(xcom_pull=lambda **_: None, get_dr_count=count)
        scope = RunScope(DAG_ID, "manual__another", 1, None, {"publish": True})
        CleanDockerRunOperator(task_id="clean_staging", job=SPARKPI).run({"ti": ti}, scope)

    def test_goes_with_the_next_run_once_its_own_is_over(self, bench: Bench) -> None:
        one = bench.a_try(SLEEPS)
        container = bench.kill_worker_while_it_runs(one)
        self.teardown(one, unfinished=True)
        assert [found.id for found in bench.containers()] == [container.id]
        self.teardown(one, unfinished=False)
        bench.require_nothing_left()

    def test_a_container_of_another_deployment_stays(self, bench: Bench, tmp_path: Path, monkeypatch) -> None:
        one = bench.a_try(SLEEPS)
        bench.kill_worker_while_it_runs(one)
        monkeypatch.setenv("CONFIDENTIAL_SPARK_RESULTS_DIR", str(tmp_path / "elsewhere"))
        forget_settings()
        self.teardown(one, unfinished=False)
        assert len(bench.containers()) == 1

    def test_a_volume_without_its_container_goes_too(self, bench: Bench) -> None:
        one = bench.a_try(SLEEPS)
        bench.kill_worker_while_it_runs(one).remove(force=True)
        assert len(bench.engine.volumes.list(filters={"label": bench.label})) == 1
        self.teardown(one, unfinished=False)
        bench.require_nothing_left()

    def test_the_platform_check_finds_it(self, bench: Bench) -> None:
        bench.kill_worker_while_it_runs(bench.a_try(SLEEPS))
        ti = SimpleNamespace(get_dr_count=lambda **_: 0)
        row = leftovers_row(lambda: remove_abandoned(ti, get_settings().results_dir))
        assert "removed 1: container" in row.got
        bench.require_nothing_left()


def test_a_flood_of_100_mb_costs_neither_memory_nor_the_run(bench: Bench) -> None:
    flood = "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 100000000"
    one = bench.a_try(f"echo begins; {flood}; echo ends; {SIGN}")
    worker = bench.worker(one)
    peak = most_resident_bytes(worker)
    assert worker.returncode == 0
    log = bench.worker_log()
    assert "begins" in log
    assert "ends" in log
    assert len(log) < 32_000_000
    assert peak < 600_000_000
    bench.require_nothing_left()


def most_resident_bytes(worker: subprocess.Popen[str]) -> int:
    """Wait for a process to end, and return the most memory that it ever had, as the kernel counts it."""
    most = 0
    while worker.poll() is None:
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{worker.pid}/status").read_text()
            most = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        with suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=0.2)
    return most


def next_try(one: OneTry) -> OneTry:
    return replace(one, try_number=one.try_number + 1)
