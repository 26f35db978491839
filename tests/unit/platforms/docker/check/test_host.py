"""What the script prints on a host, read; and a container that is always removed."""

from __future__ import annotations

import contextlib
import re

import pytest
from confidential_spark.core.check_rows import SgxDevice
from confidential_spark.core.errors import EnclaveError
from confidential_spark.platforms.docker.check.host import CHECK_LABEL, DockerHost, host_facts
from confidential_spark.platforms.docker.container import ContainerSpec
from docker.errors import APIError, NotFound
from hypothesis import given
from hypothesis import strategies as st

SGX_HOST = """\
device /dev/sgx_enclave 666 0 yes
device /dev/sgx_provision 660 107 no
cpu sgx
cpu sgx_lc
epc 8453619712
epc 1073741824
aesm yes
free    62150112
"""
SPEC = ContainerSpec(
    image="sha256:00",
    command="look",
    environment={"SECRET": "x"},
    labels={},
    memory_bytes=1 << 30,
    scratch_bytes=1 << 20,
    instance_bytes=1 << 20,
    cpus=1,
    network="none",
    aesm_dir="/var/run/aesmd",
)
ENDED_WELL = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "Error": ""}


def test_reads_a_host_with_sgx():
    facts = host_facts(SGX_HOST)

    assert facts.devices == (
        SgxDevice("/dev/sgx_enclave", "666", 0, opens=True),
        SgxDevice("/dev/sgx_provision", "660", 107, opens=False),
    )
    assert facts.cpu_flags == {"sgx", "sgx_lc"}
    assert facts.epc_bytes == 8453619712 + 1073741824
    assert facts.has_aesm is True
    assert facts.free_bytes == 62150112 * 1024


def test_reads_a_host_without_sgx():
    facts = host_facts("free 5\n")

    assert (facts.devices, facts.cpu_flags, facts.epc_bytes, facts.has_aesm) == ((), frozenset(), None, False)


def test_a_script_that_did_not_end_tells_nothing():
    with pytest.raises(EnclaveError) as caught:
        host_facts(SGX_HOST.replace("free", "fr"))
    assert caught.value.code == "host-facts-missing"


@given(st.text(max_size=300))
def test_any_output_is_read_or_refused(output):
    with contextlib.suppress(EnclaveError):
        assert host_facts(output).free_bytes >= 0


class FakeEngine:
    """An engine without SGX; only `/dev/null` and what is in ``has`` can be handed to a container."""

    def __init__(self, has=(), state=ENDED_WELL, output=b"free 5\n"):
        self.has = set(has)
        self.state = state
        self.output = output
        self.there = {}
        self.asked = []

    def create_host_config(self, **arguments):
        return arguments

    def create_container(self, **arguments):
        self.asked.append(arguments)
        if len(arguments["host_config"]["mounts"]) > 1 and "aesm" not in self.has:
            raise APIError("", explanation="bind source path does not exist: /var/run/aesmd")
        self.there[f"c{len(self.asked)}"] = arguments
        return {"Id": f"c{len(self.asked)}"}

    def start(self, container):
        for device in self.there[container]["command"]:
            if device not in self.has:
                raise APIError("", explanation=f'adding custom device "{device}": no such file or directory')

    def wait(self, container, timeout):
        return {"StatusCode": self.state["ExitCode"]}

    def logs(self, container):
        return self.output

    def inspect_container(self, container):
        return {"State": self.state}

    def inspect_image(self, reference):
        if reference != "sha256:00":
            raise NotFound("", explanation=f"No such image: {reference}")
        return {"Config": {"Labels": None}}

    def containers(self, all, filters):
        label = filters["label"]
        return [{"Id": name} for name, made in self.there.items() if label in made.get("labels", {})]

    def remove_container(self, container, v, force):
        del self.there[container]


SETS = (("/dev/sgx/enclave", "/dev/sgx/provision"), ("/dev/sgx_enclave", "/dev/sgx_provision"))


@pytest.mark.parametrize(
    ("has", "devices", "aesm"),
    [
        pytest.param((), [], False, id="nothing"),
        pytest.param(SETS[0], list(SETS[0]), False, id="names-of-the-old-driver"),
        pytest.param(SETS[1], list(SETS[1]), False, id="names-of-linux"),
        pytest.param((*SETS[1], "aesm"), list(SETS[1]), True, id="devices-and-aesm"),
        pytest.param(("aesm",), [], True, id="aesm-alone"),
        pytest.param(SETS[1][:1], [], False, id="half-a-set"),
    ],
)
def test_tries_devices_by_each_name_and_leaves_no_container(has, devices, aesm):
    engine = FakeEngine(has)

    DockerHost(engine, "unix:///x", is_private=True).look(SPEC, SETS)

    last = engine.asked[-1]
    assert last["command"] == devices
    assert (len(last["host_config"]["mounts"]) > 1) is aesm
    assert engine.there == {}


def test_the_container_has_a_runs_limits_and_none_of_its_secrets():
    engine = FakeEngine()

    DockerHost(engine, "unix:///x", is_private=True).look(SPEC, ())

    made = engine.asked[-1]
    assert made["host_config"]["cap_drop"] == ["ALL"]
    assert made["host_config"]["read_only"] is True
    assert made["host_config"]["network_mode"] == "none"
    assert "SECRET" not in made["environment"]
    assert re.fullmatch(r"[0-9]+:[0-9]+", made["user"])


@pytest.mark.parametrize(
    ("state", "code"),
    [
        pytest.param({**ENDED_WELL, "ExitCode": 137, "OOMKilled": True}, "killed-out-of-memory", id="memory"),
        pytest.param({**ENDED_WELL, "ExitCode": 127}, "command-not-found", id="no-shell"),
    ],
)
def test_a_container_that_fails_is_named_and_removed(state, code):
    engine = FakeEngine(state=state)

    with pytest.raises(EnclaveError) as caught:
        DockerHost(engine, "unix:///x", is_private=True).look(SPEC, ())

    assert caught.value.code == code
    assert engine.there == {}


def test_another_refusal_than_an_absent_device_ends_the_look():
    class NoImage(FakeEngine):
        def create_container(self, **arguments):
            self.asked.append(arguments)
            raise APIError("", explanation="No such image: sha256:00")

    engine = NoImage()
    with pytest.raises(EnclaveError) as caught:
        DockerHost(engine, "unix:///x", is_private=True).look(SPEC, SETS)

    assert caught.value.code == "image-not-found"
    assert len(engine.asked) == 1


def test_containers_of_killed_checks_are_removed_and_no_others():
    engine = FakeEngine()
    engine.there = {"old": {"labels": {CHECK_LABEL: "look"}}, "run": {"labels": {"other": "x"}}}

    DockerHost(engine, "unix:///x", is_private=True).look(SPEC, ())

    assert set(engine.there) == {"run"}


def test_output_is_bounded():
    engine = FakeEngine(output=b"x" * 10_000_000 + b"\nfree 5\n")

    with pytest.raises(EnclaveError) as caught:
        DockerHost(engine, "unix:///x", is_private=True).look(SPEC, ())
    assert caught.value.code == "host-facts-missing"


@pytest.mark.parametrize(("reference", "labels"), [("sha256:00", {}), ("sha256:11", None)])
def test_an_absent_image_has_no_labels(reference, labels):
    assert DockerHost(FakeEngine(), "unix:///x", is_private=True).image_labels(reference) == labels


def test_reads_what_a_real_engine_said():
    class Real(FakeEngine):
        def info(self):
            return {
                "OSType": "linux",
                "Architecture": "x86_64",
                "NCPU": 2,
                "MemTotal": 25276502016,
                "MemoryLimit": True,
                "SwapLimit": False,
                "CpuCfsQuota": True,
                "PidsLimit": True,
                "SystemTime": "2026-11-23T08:31:03.565885899Z",
                "Plugins": {"Log": ["json-file"]},
                "SecurityOptions": ["name=seccomp,profile=default"],
                "LiveRestoreEnabled": False,
            }

        def version(self):
            return {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}

    facts = DockerHost(Real(), "tcp://192.0.2.1:2376", is_private=True).engine()

    assert facts.api == (1, 41)
    assert facts.absent_limits == ("swap",)
    assert facts.address == "tcp://192.0.2.1:2376"
