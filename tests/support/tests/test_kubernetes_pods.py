"""Pods of the small Kubernetes: real processes, with a pod's status, log, mounts and end."""

from __future__ import annotations

import itertools

import pytest
from kubernetes.client import ApiException
from kubernetes.stream import stream

from tests.support.fakes.kubernetes_api import Image

OBEYS_TERM = "trap 'echo TERM; exit 143' TERM; echo ready; while true; do sleep 0.05; done"
IGNORES_TERM = "trap '' TERM; echo ready; while true; do sleep 0.05; done"


def state(pod):
    return pod.status.container_statuses[0].state


@pytest.mark.parametrize(
    ("script", "phase", "reason", "code"),
    [
        pytest.param("exit 0", "Succeeded", "Completed", 0, id="ends-well"),
        pytest.param("exit 72", "Failed", "Error", 72, id="fails"),
        # Kubernetes makes one dollar of two.
        pytest.param("kill -11 $$$$", "Failed", "Error", 139, id="dies-of-a-signal"),
    ],
)
def test_a_pod_ends_as_its_process_does(start, ended, script, phase, reason, code) -> None:
    start(script)
    pod = ended()
    assert (pod.status.phase, state(pod).terminated.reason, state(pod).terminated.exit_code) == (
        phase,
        reason,
        code,
    )


def test_a_program_that_is_not_there(start, ended) -> None:
    start(container={"command": ["/no/such/program"]})
    terminated = state(ended()).terminated
    assert (terminated.reason, terminated.exit_code) == ("StartError", 128)
    assert "No such file" in terminated.message


@pytest.mark.parametrize(
    ("policy", "script", "message"),
    [
        pytest.param("File", "echo said > /dev/termination-log; exit 1", "said\n", id="file"),
        pytest.param("File", "echo logged; exit 1", None, id="only-a-log"),
        pytest.param("FallbackToLogsOnError", "echo logged; exit 1", "logged\n", id="fallback"),
        pytest.param("FallbackToLogsOnError", "echo logged", None, id="no-fallback-without-error"),
    ],
)
def test_the_termination_message(start, ended, policy, script, message) -> None:
    start(script, container={"terminationMessagePolicy": policy})
    assert state(ended()).terminated.message == message


def test_a_failing_container_is_restarted_until_it_succeeds(start, ended) -> None:
    mounts = [{"name": "work", "mountPath": "/work"}]
    script = "test -e /work/second || { touch /work/second; exit 1; }"
    volumes = [{"name": "work", "emptyDir": {}}]
    start(script, container={"volumeMounts": mounts}, volumes=volumes, restartPolicy="OnFailure")
    pod = ended()
    (status,) = pod.status.container_statuses
    assert (pod.status.phase, status.restart_count, status.last_state.terminated.exit_code) == (
        "Succeeded",
        1,
        1,
    )


def test_init_containers_run_first_and_one_after_the_other(start, ended, text) -> None:
    mounts = [{"name": "work", "mountPath": "/work"}]
    steps = [
        {
            "name": f"init-{step}",
            "image": "x:1",
            "command": ["sh", "-c", f"echo {step} >> /work/steps"],
            "volumeMounts": mounts,
        }
        for step in (1, 2)
    ]
    volumes = [{"name": "work", "emptyDir": {}}]
    start("cat /work/steps", container={"volumeMounts": mounts}, initContainers=steps, volumes=volumes)
    assert ended().status.phase == "Succeeded"
    assert text(container="base") == "1\n2\n"


def test_a_failing_init_container_fails_the_pod(start, ended) -> None:
    start(initContainers=[{"name": "init", "image": "x:1", "command": ["false"]}])
    pod = ended()
    assert pod.status.phase == "Failed"
    assert state(pod).waiting.reason == "PodInitializing"


@pytest.mark.parametrize(
    ("script", "code"),
    [pytest.param(OBEYS_TERM, 143, id="obeys"), pytest.param(IGNORES_TERM, 137, id="ignores")],
)
def test_a_deletion_is_a_term_and_then_a_kill(cluster, core, start, text, script, code) -> None:
    start(script)
    cluster.wait(lambda: "ready" in _log_or_nothing(text))
    version = core.list_namespaced_pod(cluster.namespace).metadata.resource_version
    core.delete_namespaced_pod("pod", cluster.namespace, grace_period_seconds=1)
    cluster.wait(lambda: not cluster.pods())
    changes = _changes(core, cluster, version)
    last = next(change["object"] for change in changes if change["type"] == "DELETED")
    assert last.status.phase == "Failed"
    assert state(last).terminated.exit_code == code
    assert not cluster.processes()


def test_a_forced_deletion_does_not_wait(cluster, core, start, text) -> None:
    start(IGNORES_TERM)
    cluster.wait(lambda: "ready" in _log_or_nothing(text))
    core.delete_namespaced_pod("pod", cluster.namespace)
    assert core.read_namespaced_pod("pod", cluster.namespace).metadata.deletion_grace_period_seconds == 30
    core.delete_namespaced_pod("pod", cluster.namespace, grace_period_seconds=0)
    cluster.wait(lambda: not cluster.pods(), seconds=5)
    assert not cluster.processes()


def test_nothing_of_a_container_outlives_it(cluster, start, ended) -> None:
    start("setsid sleep 60 & setsid sh -c 'sleep 60 & wait' & sleep 0.2")
    cluster.wait(lambda: len(cluster.processes()) > 2)
    ended()
    assert not cluster.processes()


def test_a_log_can_be_followed_stamped_and_cut(start, ended, text) -> None:
    start("for i in 1 2 3; do echo line $i; sleep 0.1; done; printf unfinished; printf err >&2")
    followed = text(follow=True) if _started(text) else ""
    assert followed == "line 1\nline 2\nline 3\nunfinishederr"
    ended()
    assert text(tail_lines=2) == "line 3\nunfinishederr"
    assert text(limit_bytes=6) == "line 1"
    assert text(since_seconds=100) == followed
    stamps = [line.split(" ", 1)[0] for line in text(timestamps=True).splitlines()]
    assert stamps == sorted(stamps)
    assert all(stamp.endswith("Z") for stamp in stamps)


def test_a_log_needs_the_name_of_one_of_several_containers(start, ended, text) -> None:
    second = {"name": "second", "image": "x:1", "command": ["echo", "two"]}
    start(
        "echo one",
        container=None,
        containers=[{"name": "first", "image": "x:1", "command": ["echo", "one"]}, second],
    )
    ended()
    assert text(container="second") == "two\n"
    with pytest.raises(ApiException, match=r"choose one of: \[first second\]"):
        text()


def test_a_program_in_a_container(cluster, core, start, text) -> None:
    start(OBEYS_TERM, container={"env": [{"name": "COLOUR", "value": "green"}]})
    cluster.wait(lambda: "ready" in _log_or_nothing(text))
    session = stream(
        core.connect_get_namespaced_pod_exec,
        "pod",
        cluster.namespace,
        command=["sh", "-c", "read word; echo $word $COLOUR; echo oops >&2; exit 4"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    session.write_stdin("very\n")
    session.run_forever(timeout=10)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("very green\n", "oops\n", 4)


@pytest.mark.parametrize(
    "command", ["pkill -f sh", "kill -9 $(pgrep -f python)", "cat /proc/1/comm", "kill -9 -1"]
)
def test_a_program_that_would_meet_other_processes_is_refused(cluster, core, start, text, command) -> None:
    start(OBEYS_TERM)
    cluster.wait(lambda: "ready" in _log_or_nothing(text))
    answer = stream(
        core.connect_get_namespaced_pod_exec,
        "pod",
        cluster.namespace,
        command=["sh", "-c", command],
        stderr=True,
        stdout=True,
        stdin=False,
    )
    assert "no PID namespace" in answer


def test_mounts_and_variables(cluster, core, start, ended, text) -> None:
    core.create_namespaced_secret(
        cluster.namespace, {"metadata": {"name": "s"}, "stringData": {"key": "hush", "k2": "x"}}
    )
    core.create_namespaced_config_map(
        cluster.namespace, {"metadata": {"name": "c"}, "data": {"a.conf": "on"}}
    )
    core.create_namespaced_persistent_volume_claim(
        cluster.namespace, {"metadata": {"name": "shared"}, "spec": {}}
    )
    labels = {"fieldRef": {"fieldPath": "metadata.labels"}, "path": "labels"}
    volumes = [
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "key", "path": "deep/key"}]}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "pod", "downwardAPI": {"items": [labels]}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/mnt/{volume['name']}"} for volume in volumes]
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP):$$(PORT)"},
        {"name": "HUSH", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "CONFIG", "value": "file:///mnt/config/a.conf"},
    ]
    script = (
        "cat /mnt/secret/deep/key /mnt/config/a.conf /mnt/pod/labels; echo; "
        "echo $URL $HUSH ${NONE-unset} $CPUS; cat ${CONFIG#file://}; readlink /mnt/config/a.conf; "
        "echo kept > /mnt/shared/result; echo /mnt/configuration"
    )
    container = {
        "volumeMounts": mounts,
        "env": env,
        "envFrom": [{"secretRef": {"name": "s"}, "prefix": "S_"}],
    }
    container["resources"] = {"limits": {"cpu": "2"}}
    start(script, container=container, volumes=volumes, labels={"app": "spark"})
    pod = ended()
    first, second, third, fourth = text().splitlines()
    assert first == 'hushonapp="spark"'
    assert second == f"http://{pod.status.pod_ip}:$(PORT) hush unset 2"
    assert third == "on..data/a.conf"
    assert fourth == "/mnt/configuration"
    assert (cluster.root / "claims" / cluster.namespace / "shared" / "result").read_text() == "kept\n"


LATE_VARIABLE = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}
LATE_VOLUME = {"name": "v", "secret": {"secretName": "late"}}
MOUNT = {"name": "v", "mountPath": "/v"}


@pytest.mark.parametrize(
    ("spec", "container", "wanted"),
    [
        pytest.param({}, {"env": [LATE_VARIABLE]}, "CreateContainerConfigError", id="variable"),
        pytest.param({"volumes": [LATE_VOLUME]}, {"volumeMounts": [MOUNT]}, "ContainerCreating", id="volume"),
    ],
)
def test_a_secret_that_comes_late_is_waited_for(cluster, core, start, ended, spec, container, wanted) -> None:
    start(container=container, **spec)
    cluster.wait(lambda: wanted in str(cluster.pods()))
    core.create_namespaced_secret(cluster.namespace, {"metadata": {"name": "late"}, "stringData": {"k": "v"}})
    assert ended().status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        pytest.param("registry.invalid/x:1", "Always", "ImagePullBackOff", id="no-such-registry"),
        pytest.param("Not An Image", "Always", "InvalidImageName", id="no-image-name"),
        pytest.param("debian:absent", "Never", "ErrImageNeverPull", id="never-pulled"),
    ],
)
def test_an_image_that_does_not_come(cluster, start, image, policy, reason) -> None:
    start(container={"image": image, "imagePullPolicy": policy})
    cluster.wait(lambda: f"'reason': '{reason}'" in str(cluster.pods()[0]["status"]))
    assert cluster.pods()[0]["status"]["phase"] == "Pending"


def test_an_image_s_entrypoint_runs_where_the_pod_names_no_command(cluster, start, ended, text) -> None:
    cluster.add_image(
        "enclave:1", Image(("sh", "-c", 'echo "$MODE: $@"', "entrypoint"), environment={"MODE": "sim"})
    )
    start(container={"image": "enclave:1", "command": None, "args": ["run", "nytaxi"]})
    ended()
    assert text() == "sim: run nytaxi\n"


def test_two_pods_may_use_one_port(start, ended) -> None:
    listen = "import os, socket, time; s = socket.socket(); s.bind((os.environ['IP'], 7078)); time.sleep(0.5)"
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    for name in ("first", "second"):
        start(name=name, container={"command": ["python3", "-c", listen], "env": env})
    assert [ended(name).status.phase for name in ("first", "second")] == ["Succeeded", "Succeeded"]


HUGE = {"name": "a", "image": "x:1", "resources": {"requests": {"memory": "1Ti"}}}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param(
            {"nodeSelector": {"pool": "sgx"}}, "node(s) didn't match Pod's node affinity/selector", id="pool"
        ),
        pytest.param({"containers": [HUGE]}, "Insufficient memory", id="memory"),
    ],
)
def test_a_pod_that_fits_nowhere(cluster, core, start, spec, why) -> None:
    start(**spec)
    (pod,) = cluster.pods()
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "Unschedulable",
    )
    assert condition["message"] == f"0/1 nodes are available: 1 {why}."
    events = core.list_namespaced_event(cluster.namespace, field_selector="involvedObject.name=pod").items
    assert [(event.type, event.reason) for event in events] == [("Warning", "FailedScheduling")]


def test_a_tainted_node_takes_only_pods_that_tolerate_it(cluster, start, ended) -> None:
    cluster.set_capacity("cpu", "0")
    taint = {"key": "sgx", "value": "yes", "effect": "NoSchedule"}
    cluster.add_node("enclaves", taints=[taint], labels={"pool": "sgx"})
    cpu = {"resources": {"requests": {"cpu": "100m"}}}
    start(name="stranger", container=cpu)
    start(
        name="guest",
        container=cpu,
        tolerations=[{**taint, "operator": "Equal"}],
        nodeSelector={"pool": "sgx"},
    )
    assert ended("guest").spec.node_name == "enclaves"
    assert "untolerated taint" in str(cluster.pods())


def test_enclave_memory_is_given_back(cluster, start, ended) -> None:
    cluster.set_epc(3)
    part = {"resources": {"limits": {"sgx.intel.com/epc": "2"}}}
    for name in ("first", "second"):
        start("sleep 0.2", name=name, container=part)
    assert "Insufficient sgx.intel.com/epc" in str(cluster.pods())
    assert ended("second").status.phase == "Succeeded"


def test_a_kill_from_outside_keeps_its_reason(cluster, start, ended) -> None:
    start(OBEYS_TERM)
    cluster.wait(lambda: cluster.pods()[0]["status"]["phase"] == "Running")
    cluster.oom_kill("pod")
    assert (state(ended()).terminated.reason, state(ended()).terminated.exit_code) == ("OOMKilled", 137)


def test_a_deadline_ends_what_runs(cluster, start, ended) -> None:
    start("sleep 60", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    assert ended().status.reason == "DeadlineExceeded"
    assert not cluster.processes()


def one(**fields):
    return {"spec": {"containers": [{"name": "a", "image": "x:1", **fields}]}}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"metadata": {"name": "Bad_Name"}}, id="name"),
        pytest.param({"metadata": {"labels": {"run": "x" * 64}}}, id="label"),
        pytest.param({"spec": {"containers": []}}, id="no-container"),
        pytest.param({"spec": {"containers": one()["spec"]["containers"] * 2}}, id="one-name-twice"),
        pytest.param(one(image=""), id="no-image"),
        pytest.param(one(volumeMounts=[MOUNT]), id="mount-of-nothing"),
        pytest.param(one(resources={"limits": {"cpu": "many"}}), id="no-quantity"),
        pytest.param(one(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), id="more-than-limit"),
        pytest.param(one(resources={"limits": {"sgx.intel.com/epc": "0.5"}}), id="half-a-device"),
    ],
)
def test_what_is_no_pod_is_refused(cluster, core, body) -> None:
    pod = {**one(), **body}
    pod["metadata"] = {"name": "pod", **body.get("metadata", {})}
    with pytest.raises(ApiException) as refusal:
        core.create_namespaced_pod(cluster.namespace, pod)
    assert refusal.value.status == 422
    assert not cluster.pods()


def _log_or_nothing(text) -> str:
    try:
        return text()
    except ApiException:
        return ""


def _started(text) -> bool:
    return any(_log_or_nothing(text) for _ in itertools.repeat(None, 10_000))


def _changes(core, cluster, version):
    from kubernetes import watch

    return watch.Watch().stream(
        core.list_namespaced_pod, cluster.namespace, resource_version=version, timeout_seconds=1
    )
