"""Facts of an engine and its host in, rows out; the facts of a good host are those of a real one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confidential_spark.core.check_rows import GIBIBYTE, SgxDevice, Status, gib
from confidential_spark.platforms.docker.check.rows import (
    ENGINE_ROWS,
    HOST_ROWS,
    EngineFacts,
    HostFacts,
    Needs,
    engine_rows,
    host_rows,
)

NEEDS = Needs(
    trust="hardware",
    memory_bytes=4 * GIBIBYTE,
    enclave_bytes=8 * GIBIBYTE,
    cpus=2,
    disk_bytes=10 * GIBIBYTE,
)
ENGINE = EngineFacts(
    address="unix:///var/run/docker.sock",
    is_private=True,
    version="20.10.24+dfsg1",
    api=(1, 41),
    operating_system="linux",
    architecture="x86_64",
    cpus=2,
    memory_bytes=5 * GIBIBYTE,
    absent_limits=(),
    security_options=("name=seccomp,profile=default",),
    log_drivers=("json-file", "local"),
    clock_ahead_seconds=-0.007,
    live_restore=True,
)
DEVICES = (
    SgxDevice("/dev/sgx_enclave", "660", 106, opens=True),
    SgxDevice("/dev/sgx_provision", "660", 107, opens=True),
)
HOST = HostFacts(
    devices=DEVICES,
    cpu_flags=frozenset({"sgx", "sgx_lc"}),
    epc_bytes=8 * GIBIBYTE,
    has_aesm=True,
    free_bytes=10 * GIBIBYTE,
)


def test_a_good_engine_is_ok_in_every_row():
    rows = list(engine_rows(ENGINE, NEEDS))

    assert [row.name for row in rows] == list(ENGINE_ROWS)
    assert {row.status for row in rows} == {Status.OK}


def test_a_good_host_is_ok_in_every_row():
    rows = list(host_rows(HOST, replace(NEEDS, aesm_dir="/var/run/aesmd")))

    assert [row.name for row in rows] == list(HOST_ROWS)
    assert {row.status for row in rows} == {Status.OK}


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        pytest.param("engine", {"api": (1, 40)}, Status.FAIL, id="engine-19.03"),
        pytest.param("engine", {"api": (1, 100)}, Status.OK, id="api-is-compared-by-number"),
        pytest.param("engine-private", {"is_private": False}, Status.FAIL, id="plain-tcp"),
        pytest.param("architecture", {"architecture": "aarch64"}, Status.FAIL, id="arm"),
        pytest.param("architecture", {"operating_system": "windows"}, Status.FAIL, id="windows"),
        pytest.param("memory", {"memory_bytes": 5 * GIBIBYTE - 1}, Status.FAIL, id="memory-one-byte-less"),
        pytest.param("cpus", {"cpus": 1}, Status.FAIL, id="one-cpu"),
        pytest.param("limits", {"absent_limits": ("swap",)}, Status.FAIL, id="no-swap-limit"),
        pytest.param("seccomp", {"security_options": ()}, Status.WARN, id="no-seccomp"),
        pytest.param("log-driver", {"log_drivers": ("syslog",)}, Status.FAIL, id="no-json-file"),
        pytest.param("clock", {"clock_ahead_seconds": 5.0}, Status.OK, id="clock-5-s"),
        pytest.param("clock", {"clock_ahead_seconds": -5.1}, Status.WARN, id="clock-behind"),
        pytest.param("clock", {"clock_ahead_seconds": 60.1}, Status.FAIL, id="clock-a-minute-ahead"),
        pytest.param("live-restore", {"live_restore": False}, Status.WARN, id="no-live-restore"),
    ],
)
def test_one_fact_changes_one_row_of_the_engine(name, change, status):
    rows = {row.name: row for row in engine_rows(replace(ENGINE, **change), NEEDS)}

    assert rows[name].status is status
    assert bool(rows[name].action) is (status is not Status.OK)
    assert {row.status for other, row in rows.items() if other != name} == {Status.OK}


@pytest.mark.parametrize(
    ("name", "change", "hardware", "simulated"),
    [
        pytest.param("disk", {"free_bytes": GIBIBYTE}, Status.WARN, Status.WARN, id="disk-nearly-full"),
        pytest.param("sgx-cpu", {"cpu_flags": frozenset()}, Status.FAIL, Status.NOT_HERE, id="no-sgx"),
        pytest.param(
            "sgx-cpu", {"cpu_flags": frozenset({"sgx"})}, Status.FAIL, Status.NOT_HERE, id="no-launch-control"
        ),
        pytest.param("sgx-devices", {"devices": ()}, Status.FAIL, Status.NOT_HERE, id="no-devices"),
        pytest.param("sgx-devices", {"devices": DEVICES[:1]}, Status.FAIL, Status.NOT_HERE, id="one-device"),
        pytest.param(
            "sgx-devices",
            {"devices": (DEVICES[0], replace(DEVICES[1], opens=False))},
            Status.FAIL,
            Status.NOT_HERE,
            id="device-of-another-group",
        ),
        pytest.param("epc", {"epc_bytes": None}, Status.NOT_HERE, Status.NOT_HERE, id="kernel-silent"),
        pytest.param("epc", {"epc_bytes": 8 * GIBIBYTE - 1}, Status.WARN, Status.WARN, id="small-page-cache"),
        pytest.param("aesm", {"has_aesm": False}, Status.FAIL, Status.NOT_HERE, id="no-aesm"),
    ],
)
def test_one_fact_changes_one_row_of_the_host(name, change, hardware, simulated):
    for trust, status in (("hardware", hardware), ("simulated", simulated)):
        needs = replace(NEEDS, trust=trust, aesm_dir="/var/run/aesmd")
        rows = {row.name: row for row in host_rows(replace(HOST, **change), needs)}

        assert rows[name].status is status
        assert rows[name].action
        assert {row.status for other, row in rows.items() if other != name} == {Status.OK}


def test_a_device_that_the_enclave_cannot_open_is_named():
    closed = replace(HOST, devices=(DEVICES[0], replace(DEVICES[1], opens=False)))
    row = next(row for row in host_rows(closed, NEEDS) if row.name == "sgx-devices")

    assert "/dev/sgx_provision mode 660 group 107" in row.got
    assert "cannot open /dev/sgx_provision" in row.got


def test_aesm_that_nobody_asks_for_is_not_here():
    row = next(row for row in host_rows(HOST, NEEDS) if row.name == "aesm")

    assert row.status is Status.NOT_HERE
    assert "not used" in row.got


def test_sizes_are_readable():
    assert gib(25_276_502_016) == "23.5 GiB"
