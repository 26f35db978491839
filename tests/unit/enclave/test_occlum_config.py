import json
from contextlib import suppress

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.occlum_config import (
    EnclaveSizing,
    render_occlum_json,
    require_memory_fits,
    size_bytes,
)
from confidential_spark.enclave.spark import MemoryPlan
from confidential_spark.settings import Settings
from hypothesis import given
from hypothesis import strategies as st

SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "JAVA_TOOL_OPTIONS", "CLASSPATH")


def rendered(**sizes) -> dict:
    return json.loads(render_occlum_json(EnclaveSizing(**sizes)))


def test_sizes_arrive_where_occlum_reads_them():
    document = rendered(
        user_space="6GB", kernel_heap="512MB", process_heap="300MB", max_threads=333, product_id=5, svn=9
    )

    assert document["resource_limits"]["user_space_size"] == "6GB"
    assert document["resource_limits"]["kernel_space_heap_size"] == "512MB"
    assert document["resource_limits"]["max_num_of_threads"] == 333
    assert document["process"]["default_heap_size"] == "300MB"
    assert document["metadata"]["product_id"] == 5
    assert document["metadata"]["version_number"] == 9


def test_the_defaults_are_the_seeds_and_nothing_is_debuggable():
    document = rendered()

    assert document["resource_limits"]["user_space_size"] == "12GB"
    assert document["resource_limits"]["max_num_of_threads"] == 2048
    assert document["metadata"]["debuggable"] is False


def test_a_debug_build_must_be_asked_for():
    assert rendered(debug=True)["metadata"]["debuggable"] is True


def test_the_host_sets_no_variable_of_the_enclave():
    environment = rendered()["env"]

    assert environment["untrusted"] == []
    assert {entry.split("=")[0] for entry in environment["default"]}.isdisjoint(SEARCH_PATHS)


def test_python_starts_without_a_users_or_the_present_folder():
    assert {"PYTHONNOUSERSITE=1", "PYTHONSAFEPATH=1"} <= set(rendered()["env"]["default"])


def test_one_file_can_be_entered_and_no_interpreter():
    """With Python's folder, `occlum run /opt/python/bin/python3 -c …` would run any code of the host's."""
    assert rendered()["entry_points"] == ["/opt/confidential-spark/bin/enclave-agent"]


def test_the_enclave_sees_one_folder_of_its_host():
    mounts = rendered()["mount"]

    assert [mount for mount in mounts if mount["type"] == "hostfs"] == [
        {"target": "/host", "type": "hostfs", "source": "/host"}
    ]


def test_nothing_of_an_earlier_run_lies_above_the_measured_files():
    """The writable layer is encrypted for the signer, so any enclave of ours could have left a file in it."""
    (root,) = (mount for mount in rendered()["mount"] if mount["target"] == "/")
    measured, writable = root["options"]["layers"]

    assert "MAC" in measured["options"]
    assert writable["options"] == {"temporary": True}


def test_the_same_sizes_give_the_same_bytes():
    assert render_occlum_json(EnclaveSizing()) == render_occlum_json(EnclaveSizing())


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        pytest.param({"user_space": "12"}, "enclave-size-malformed", id="no-unit"),
        pytest.param({"user_space": "12gb"}, "enclave-size-malformed", id="lower-case"),
        pytest.param({"kernel_heap": "0GB"}, "enclave-size-malformed", id="nothing"),
        pytest.param({"process_heap": "1.5GB"}, "enclave-size-malformed", id="fraction"),
        pytest.param({"user_space": "١GB"}, "enclave-size-malformed", id="other-digits"),
        pytest.param({"user_space": '1GB","x":"'}, "enclave-size-malformed", id="json"),
        pytest.param({"max_threads": 63}, "enclave-number-invalid", id="too-few-threads"),
        pytest.param({"max_threads": 16_385}, "enclave-number-invalid", id="too-many-threads"),
        pytest.param({"product_id": -1}, "enclave-number-invalid", id="negative-product"),
        pytest.param({"product_id": 65_536}, "enclave-number-invalid", id="large-product"),
        pytest.param({"svn": 65_536}, "enclave-number-invalid", id="large-svn"),
        pytest.param({"svn": True}, "enclave-number-invalid", id="boolean-svn"),
    ],
)
def test_what_occlum_could_not_represent_is_refused(sizes, code):
    with pytest.raises(ConfigurationError) as refused:
        EnclaveSizing(**sizes)

    assert refused.value.code == code


@given(number=st.integers(1, 999_999_999), unit=st.sampled_from([("KB", 10), ("MB", 20), ("GB", 30)]))
def test_sizes_are_powers_of_1024(number, unit):
    name, power = unit

    assert size_bytes(f"{number}{name}") == number << power


@given(text=st.text(max_size=20))
def test_any_text_is_a_size_or_is_refused(text):
    with suppress(ConfigurationError):
        assert size_bytes(text) > 0


@pytest.mark.parametrize(
    ("heap", "fits"),
    [
        # 4096 user space − 2 × 512 process heaps − 128 − 192 − 192
        pytest.param(2559, True, id="one-mebibyte-left"),
        pytest.param(2560, False, id="nothing-left"),
    ],
)
def test_spark_must_fit_into_the_enclave(heap, fits):
    plan, sizing = MemoryPlan(heap=heap), EnclaveSizing(user_space="4GB", process_heap="512MB")

    if fits:
        require_memory_fits(plan, sizing)
        return
    with pytest.raises(ConfigurationError, match=r"4096 MiB.*less than the user space of 4GB") as refused:
        require_memory_fits(plan, sizing)
    assert refused.value.code == "enclave-memory-too-small"


def test_settings_reach_the_enclave():
    sizing = Settings(enclave_svn=4, enclave_debug=True).enclave_sizing()

    assert (sizing.svn, sizing.debug) == (4, True)
