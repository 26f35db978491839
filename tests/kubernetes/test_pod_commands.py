"""`Cluster.run_command` on the small Kubernetes: what becomes of a program whose pod goes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.kubernetes.client import cluster as kubernetes_cluster
from confidential_spark.platforms.kubernetes.client.cluster import Cluster

from tests.support.fakes.kubernetes_api import FakeCluster, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confidential_spark.platforms.kubernetes.client.pod_exec import PodCommand

POD = "transfer"


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Iterator[FakeCluster]:
    monkeypatch.setattr(kubernetes_cluster, "API_PAUSE_SECONDS", 0.1)
    with FakeCluster(tmp_path / "cluster") as cluster:
        container = {"name": "base", "image": cluster.image, "command": ["sleep", "60"]}
        spec = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 2}
        cluster.core().create_namespaced_pod(cluster.namespace, {"metadata": {"name": POD}, "spec": spec})
        cluster.wait(lambda: cluster.pods()[0]["status"].get("phase") == "Running")
        yield cluster


@pytest.fixture
def run(fake) -> Callable[..., Any]:
    """Run a shell script in the pod; ``work`` takes the running program."""

    def make(script: str, work: Callable[[PodCommand], Any], *, patience: float = 10, **keywords: Any) -> Any:
        cluster = Cluster(fake.core, fake.namespace, patience=patience)
        return cluster.run_command(POD, "base", ["bash", "-c", script], work, **keywords)

    return make


def printed(program: PodCommand) -> bytes:
    return b"".join(program.read())


def remove(fake: FakeCluster, **keywords: Any) -> None:
    fake.core().delete_namespaced_pod(POD, fake.namespace, **keywords)


HARM = [
    pytest.param(lambda fake: remove(fake), "pod-lost", id="deleted"),
    pytest.param(lambda fake: remove(fake, grace_period_seconds=0), "pod-lost", id="deleted-by-force"),
    pytest.param(lambda fake: fake.evict(POD), "pod-evicted", id="evicted"),
    pytest.param(lambda fake: fake.oom_kill(POD), "killed-out-of-memory", id="out-of-memory"),
    pytest.param(lambda fake: fake.kill(POD), "killed-from-outside", id="kill-9"),
]


def test_a_program_s_output_is_returned(run) -> None:
    assert run("echo one; echo two", printed) == b"one\ntwo\n"


def test_input_reaches_the_program(run) -> None:
    def work(program: PodCommand) -> bytes:
        program.write([b"12", b"345"])
        return printed(program)

    assert run("head -c 5 | tac", work, stdin=True) == b"12345"


@pytest.mark.parametrize(("harm", "code"), HARM)
def test_a_pod_that_is_gone_before(fake, run, harm, code) -> None:
    harm(fake)
    fake.wait(lambda: not fake.processes())
    with pytest.raises(EnclaveError) as failed:
        run("echo never", printed)
    assert failed.value.code == code


@pytest.mark.parametrize(("harm", "code"), HARM)
def test_a_pod_that_goes_under_the_program(fake, run, harm, code) -> None:
    def work(program: PodCommand) -> None:
        output = program.read()
        assert next(output) == b"begun\n"
        harm(fake)
        for _ in output:
            pass

    with pytest.raises(EnclaveError) as failed:
        run("echo begun; exec sleep 60", work)
    assert failed.value.code == code


@pytest.mark.parametrize(("harm", "code"), HARM[:3])
def test_a_pod_that_goes_while_it_is_sent_to(fake, run, harm, code) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        harm(fake)
        for _ in range(400):
            yield b"x" * 100_000

    with pytest.raises(EnclaveError) as failed:
        run("cat >/dev/null", lambda program: [program.write(chunks()), printed(program)], stdin=True)
    assert failed.value.code == code


def test_a_full_volume_is_not_an_api_that_is_away(run) -> None:
    script = 'head -c 1000 >/dev/null; echo "tar: No space left on device" >&2; exit 2'

    def work(program: PodCommand) -> None:
        program.write([b"x" * 1_000_000] * 64)
        printed(program)

    with pytest.raises(EnclaveError) as failed:
        run(script, work, stdin=True)
    assert (failed.value.code, failed.value.got) == ("pod-command-failed", "tar: No space left on device")


def test_a_program_that_was_killed_in_a_pod_that_goes_on_has_failed(run, monkeypatch) -> None:
    monkeypatch.setattr(kubernetes_cluster, "SETTLE_SECONDS", 0.5)
    with pytest.raises(EnclaveError) as failed:
        run("kill -9 $BASHPID", printed)
    assert failed.value.code == "pod-command-failed"


def test_a_pod_that_is_marked_a_moment_after_its_programs_were_killed(fake) -> None:
    looks: list[bool] = []

    def looked() -> bool:
        if not looks:
            fake.evict(POD)
        looks.append(True)
        return False

    cluster = Cluster(fake.core, fake.namespace, patience=10, stopped=looked)
    with pytest.raises(EnclaveError) as failed:
        cluster.run_command(POD, "base", ["bash", "-c", "kill -9 $BASHPID"], printed)
    assert failed.value.code == "pod-evicted"


def test_a_disk_that_is_full_here_is_not_the_api_s(run) -> None:
    def work(program: PodCommand) -> None:
        for _ in program.read():
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as failed:
        run("echo one", work)
    assert failed.value.errno == errno.ENOSPC


def test_an_api_that_is_away_is_waited_for(fake, run) -> None:
    fake.go_away(1)
    assert run("echo back", printed) == b"back\n"


def test_a_broken_connection_begins_anew(run) -> None:
    broken: list[bool] = []

    def work(program: PodCommand) -> bytes:
        output = program.read()
        first = next(output)
        if not broken:
            broken.append(True)
            program._socket.abort()
        return first + b"".join(output)

    assert run("echo one; sleep 0.3; echo two", work) == b"one\ntwo\n"


@pytest.mark.parametrize("status", [500, 503])
def test_a_node_that_does_not_answer_for_a_moment(fake, run, status) -> None:
    fake.inject(Fault("*", "pods/exec", status, times=2))
    assert run("echo one", printed) == b"one\n"


def test_a_missing_right_is_named(fake, run) -> None:
    fake.deny("*", "pods/exec")
    with pytest.raises(EnclaveError) as failed:
        run("echo one", printed)
    assert failed.value.code == "pod-forbidden"


def test_a_pod_that_is_made_anew_waits_for_the_one_before(fake) -> None:
    (before,) = fake.pods()
    # Its pods stay until somebody removes them by force.
    fake.lose_node()
    looks: list[bool] = []

    def looked() -> bool:
        looks.append(True)
        if len(looks) == 2:
            remove(fake, grace_period_seconds=0)
        return False

    cluster = Cluster(fake.core, fake.namespace, patience=10, stopped=looked)
    container = {"name": "base", "image": fake.image, "command": ["true"]}
    body = {"metadata": {"name": POD}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    assert cluster.create_pod(body) != before["metadata"]["uid"]
    assert len(looks) >= 2
