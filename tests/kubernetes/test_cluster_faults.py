"""KubernetesPodOperator when the cluster itself fails, as only the fake one does on demand."""

from __future__ import annotations

import threading

import pytest

from tests.kubernetes.clusters import wait
from tests.support.fakes.kubernetes_api import Fault

MODES = [pytest.param(False, id="sync"), pytest.param(True, id="deferrable")]
KEEP = {"on_finish_action": "keep_pod"}
# A default pod names no user and drops no capability.
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def running(fake) -> list[str]:
    return [pod["metadata"]["name"] for pod in fake.pods() if pod["status"]["phase"] == "Running"]


def once_running(fake, action) -> threading.Thread:
    """Do something to the first pod as soon as it runs."""
    thread = threading.Thread(target=lambda: action(wait(lambda: running(fake))[0]), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("deferrable", MODES)
def test_a_pod_killed_for_its_memory(fake, pod_task, log, deferrable) -> None:
    once_running(fake, fake.oom_kill)
    outcome = pod_task("sleep 30", deferrable=deferrable, **KEEP).execute_deferrable()
    assert outcome.state == "failed"
    (pod,) = fake.pods()
    terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    assert "OOMKilled" in log()


@pytest.mark.parametrize("deferrable", MODES)
def test_an_evicted_pod(fake, pod_task, deferrable) -> None:
    once_running(fake, fake.evict)
    outcome = pod_task("sleep 30", deferrable=deferrable, **KEEP).execute_deferrable()
    assert outcome.state == "failed"
    (pod,) = fake.pods()
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Evicted")


def test_a_lost_node_leaves_the_pod_terminating_until_the_node_is_removed(fake, pod_task) -> None:
    run = pod_task("sleep 30", get_logs=False)
    worker = run.start_worker()
    wait(lambda: running(fake))
    fake.lose_node()
    (pod,) = fake.pods()
    assert "deletionTimestamp" in pod["metadata"]
    assert not fake.processes()
    fake.remove_node()
    assert worker.wait() != 0
    assert not fake.pods()


@pytest.mark.parametrize("deferrable", MODES)
def test_the_api_away_for_a_while_costs_no_run(fake, pod_task, log, deferrable) -> None:
    once_running(fake, lambda pod: fake.go_away(0.7))
    run = pod_task("for i in 1 2 3 4; do echo step $i; sleep 0.4; done", deferrable=deferrable)
    assert run.execute_deferrable().state == "success"
    assert "step 4" in log()
    wait(lambda: not fake.pods())


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("create", "pods", 503, times=2), id="create-503"),
        pytest.param(Fault("create", "pods", 429, retry_after=1), id="create-429"),
        pytest.param(Fault("create", "pods", 409), id="create-409"),
        pytest.param(Fault("get", "pods", 500, times=3), id="get-500"),
        pytest.param(Fault("delete", "pods", 503), id="delete-503"),
        pytest.param(Fault("list", "pods", 504), id="list-504"),
        pytest.param(Fault("*", "*", delay=0.1, times=None), id="slow-answers"),
    ],
)
def test_passing_faults_of_the_api_are_overcome(fake, pod_task, fault) -> None:
    fake.inject(fault)
    assert pod_task("true").execute().state == "success"
    wait(lambda: not fake.pods())


def test_a_log_that_breaks_off_is_taken_up_again(fake, pod_task, log) -> None:
    fake.inject(Fault("get", "pods/log", 503, times=1))
    assert pod_task("echo first; sleep 0.5; echo last").execute().state == "success"
    assert "last" in log()


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        pytest.param("create", "pods", id="create-pods"),
        pytest.param("list", "pods", id="list-pods"),
        pytest.param("get", "pods/log", id="read-logs"),
    ],
)
def test_a_missing_right_is_named(fake, pod_task, verb, resource) -> None:
    fake.deny(verb, resource)
    outcome = pod_task("true").execute()
    assert outcome.state == "failed"
    assert f'cannot {verb} resource \\"{resource}\\"' in outcome.story


def test_missing_rights_on_events_cost_no_run(fake, pod_task, log) -> None:
    fake.deny("list", "events")
    fake.break_pull(fake.image, "rate limit")
    thread = threading.Timer(0.5, fake.heal_images)
    thread.start()
    assert pod_task("true").execute().state == "success"
    assert "Stopped watching events" in log()


def test_a_watch_that_is_too_old_starts_again(fake, pod_task, epc) -> None:
    fake.set_epc(0)
    run = pod_task("true", deferrable=True, container_resources=epc(1))

    def relieve() -> None:
        wait(lambda: fake.pods())
        fake.compact()
        fake.set_epc(1)

    thread = threading.Thread(target=relieve, daemon=True)
    thread.start()
    assert run.execute_deferrable().state == "success"


def test_an_expired_token_is_read_anew(fake, pod_task, log) -> None:
    # Only once the operator reads the log does it know how to renew a token.
    once_running(fake, lambda pod: threading.Timer(0.5, fake.expire_tokens).start())
    assert pod_task("sleep 1; echo still here").execute().state == "success"
    assert "still here" in log()


def test_an_image_pull_that_fails_for_a_passing_reason_is_waited_for(fake, pod_task) -> None:
    fake.break_pull(fake.image, "429 too many requests: rate limit exceeded")
    worker = pod_task("true").start_worker()
    wait(lambda: any("ImagePullBackOff" in str(pod["status"]) for pod in fake.pods()))
    fake.heal_images()
    assert worker.wait() == 0


def test_a_restricted_namespace_names_what_it_refuses(fake, pod_task) -> None:
    fake.label_namespace(**RESTRICTED)
    outcome = pod_task("true").execute()
    assert outcome.state == "failed"
    assert 'violates PodSecurity \\"restricted:latest\\"' in outcome.story
    assert "seccompProfile" in outcome.story


def test_a_pod_that_ignores_term_is_killed_after_its_grace(fake, pod_task) -> None:
    worker = pod_task(
        "trap '' TERM; while true; do sleep 0.1; done", termination_grace_period=1
    ).start_worker()
    wait(lambda: running(fake))
    worker.terminate()
    wait(lambda: not fake.pods())
    assert not fake.processes()


def test_the_xcom_of_a_pod_comes_from_its_sidecar(fake, pod_task) -> None:
    run = pod_task("""echo '{"rows": 42}' > /airflow/xcom/return.json""", do_xcom_push=True)
    assert run.execute().state == "success"
    assert run.xcoms["return_value"] == {"rows": 42}
    wait(lambda: not fake.pods())
    assert not fake.processes()
