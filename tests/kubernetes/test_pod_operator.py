"""Airflow's KubernetesPodOperator on a cluster: what ours is built on, where things go well and ill.

Every scenario here runs on a real cluster as well. Those that only the fake can bring about are in
`test_cluster_faults.py`.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from kubernetes.client import models as k8s

from tests.kubernetes.clusters import wait

FAILS = "echo about to fail; echo '[no-quote] no PCK certificate' > /dev/termination-log; exit 72"
OBEYS_TERM = "trap 'echo stopped by TERM; exit 143' TERM; echo ready; while true; do sleep 0.1; done"
MODES = [pytest.param(False, id="sync"), pytest.param(True, id="deferrable")]


def pods(cluster) -> list[k8s.V1Pod]:
    found: list[k8s.V1Pod] = cluster.core().list_namespaced_pod(cluster.namespace).items
    return found


def names(cluster) -> list[str]:
    return [pod.metadata.name for pod in pods(cluster)]


def running(cluster) -> list[str]:
    return [pod.metadata.name for pod in pods(cluster) if pod.status.phase == "Running"]


def reasons(cluster) -> set[str]:
    return {event.reason for event in cluster.core().list_namespaced_event(cluster.namespace).items}


@pytest.mark.parametrize("deferrable", MODES)
def test_a_pod_that_ends_well(cluster, pod_task, log, deferrable) -> None:
    run = pod_task("echo counted 42 rows", deferrable=deferrable)
    assert run.execute_deferrable().state == "success"
    assert "counted 42 rows" in log()
    assert run.xcoms["pod_namespace"] == cluster.namespace
    wait(lambda: not pods(cluster))


@pytest.mark.parametrize("deferrable", MODES)
def test_a_failing_pod_fails_the_task_with_its_own_words(cluster, pod_task, log, deferrable) -> None:
    outcome = pod_task(FAILS, deferrable=deferrable).execute_deferrable()
    assert outcome.state == "failed"
    assert "about to fail" in log()
    assert "[no-quote] no PCK certificate" in outcome.story
    wait(lambda: not pods(cluster))


def test_a_deferred_task_that_reads_the_log_meanwhile_tells_its_end(cluster, pod_task, log) -> None:
    script = "for line in 1 2 3 4; do echo line $line; sleep 0.4; done"
    run = pod_task(script, deferrable=True, logging_interval=1)
    assert run.execute_deferrable().state == "success"
    # Earlier lines may be lost: the trigger passes over those of the second it reads in, and its next read
    # counts whole seconds back from that moment, not from that second's start (provider 10.25.0).
    assert "line 4" in log()


def test_a_killed_worker_s_next_try_takes_the_pod_over(cluster, pod_task, log) -> None:
    run = pod_task("sleep 2; echo finished once")
    worker = run.start_worker()
    (before,) = wait(lambda: running(cluster))
    wait(lambda: "pod" in str(run.task_state))
    worker.kill()
    run.try_number += 1
    assert run.execute().state == "success"
    assert run.xcoms["pod_name"] == before
    assert "finished once" in log()
    wait(lambda: not pods(cluster))


def test_a_killed_triggerer_s_successor_goes_on(cluster, pod_task, log) -> None:
    run = pod_task("sleep 1; echo finished once", deferrable=True)
    deferred = run.execute()
    triggerer = run.start_triggerer(deferred.deferral)
    (before,) = wait(lambda: running(cluster))
    triggerer.kill()
    assert names(cluster) == [before]
    assert run.resume(deferred).state == "success"
    assert "finished once" in log()
    wait(lambda: not pods(cluster))


def test_two_runs_at_once_have_a_pod_each(cluster, pod_task) -> None:
    runs = [pod_task("sleep 1", run_id=f"manual__2018-0{month}") for month in (5, 6)]
    workers = [run.start_worker() for run in runs]
    wait(lambda: len(running(cluster)) == 2)
    assert [worker.wait() for worker in workers] == [0, 0]
    assert runs[0].xcoms["pod_name"] != runs[1].xcoms["pod_name"]
    wait(lambda: not pods(cluster))


def test_stopping_the_task_ends_the_pod(cluster, pod_task) -> None:
    worker = pod_task(OBEYS_TERM).start_worker()
    wait(lambda: running(cluster))
    assert worker.terminate() != 0
    wait(lambda: not pods(cluster))


def test_a_pod_ends_at_its_deadline(cluster, pod_task) -> None:
    outcome = pod_task("sleep 60", active_deadline_seconds=1, on_finish_action="keep_pod").execute()
    assert outcome.state == "failed"
    (pod,) = pods(cluster)
    assert (pod.status.phase, pod.status.reason) == ("Failed", "DeadlineExceeded")


def test_an_image_that_cannot_be_pulled_fails_at_once(cluster, pod_task) -> None:
    outcome = pod_task("true", image=cluster.missing_image).execute()
    assert outcome.state == "failed"
    assert "Image cannot be pulled" in outcome.story
    assert "Failed" in reasons(cluster)
    wait(lambda: not pods(cluster))


@pytest.mark.parametrize("deferrable", MODES)
def test_without_enclave_memory_the_pod_is_not_scheduled(cluster, pod_task, log, epc, deferrable) -> None:
    cluster.set_epc(1)
    keywords = {"container_resources": epc(2), "schedule_timeout_seconds": 1, "deferrable": deferrable}
    outcome = pod_task("true", **keywords).execute_deferrable()
    assert outcome.state == "failed"
    assert "too long to be scheduled" in outcome.story
    assert "Insufficient sgx.intel.com/epc" in log()
    wait(lambda: not pods(cluster))


def test_a_pod_waits_for_enclave_memory_and_runs(cluster, pod_task, epc) -> None:
    cluster.set_epc(0)
    worker = pod_task("true", container_resources=epc(2)).start_worker()
    wait(lambda: "FailedScheduling" in reasons(cluster))
    cluster.set_epc(2)
    assert worker.wait() == 0


def test_a_full_quota_refuses_the_pod(cluster, pod_task, epc) -> None:
    cluster.set_epc(8)
    cluster.set_quota(**{"requests.sgx.intel.com/epc": "1"})
    outcome = pod_task("true", container_resources=epc(2)).execute()
    assert outcome.state == "failed"
    assert "exceeded quota: quota" in outcome.story
    assert not pods(cluster)


def test_unequal_request_and_limit_of_enclave_memory_are_refused(cluster, pod_task) -> None:
    unequal = k8s.V1ResourceRequirements(
        requests={"sgx.intel.com/epc": "1"}, limits={"sgx.intel.com/epc": "2"}
    )
    outcome = pod_task("true", container_resources=unequal).execute()
    assert outcome.state == "failed"
    assert "must be equal to sgx.intel.com/epc limit" in outcome.story


def test_the_task_s_own_time_ends_the_deferred_pod(cluster, pod_task) -> None:
    run = pod_task("sleep 60", deferrable=True, execution_timeout=timedelta(seconds=2))
    assert run.execute_deferrable().state == "failed"
    wait(lambda: not pods(cluster))


@pytest.fixture
def own_name() -> k8s.V1EnvVar:
    field = k8s.V1ObjectFieldSelector(field_path="metadata.name")
    return k8s.V1EnvVar(name="POD", value_from=k8s.V1EnvVarSource(field_ref=field))


def test_secrets_and_config_maps_arrive(cluster, pod_task, log, own_name) -> None:
    core = cluster.core()
    core.create_namespaced_secret(
        cluster.namespace, {"metadata": {"name": "store"}, "stringData": {"sas": "s3cret"}}
    )
    core.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "policy"}, "data": {"policy.yaml": "trust: simulated"}}
    )
    mount = k8s.V1VolumeMount(name="policy", mount_path="/etc/policy", read_only=True)
    source = k8s.V1ConfigMapVolumeSource(name="policy")
    reference = k8s.V1SecretKeySelector(name="store", key="sas")
    script = (
        "cd /etc/policy; cat policy.yaml; echo; readlink policy.yaml; echo $POD has $(printf %s $SAS | wc -c)"
    )
    run = pod_task(
        script,
        volumes=[k8s.V1Volume(name="policy", config_map=source)],
        volume_mounts=[mount],
        env_vars=[
            k8s.V1EnvVar(name="SAS", value_from=k8s.V1EnvVarSource(secret_key_ref=reference)),
            own_name,
        ],
    )
    assert run.execute().state == "success"
    assert "trust: simulated" in log()
    # What the kubelet mounts is a farm of links: whoever copies it must follow them.
    assert "..data/policy.yaml" in log()
    assert f"{run.xcoms['pod_name']} has 6" in log()
