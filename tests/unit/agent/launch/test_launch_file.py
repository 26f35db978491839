from __future__ import annotations

import contextlib
import json
import stat

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch.launch_file import LaunchSpec, job_launch, parse_launch, read_launch
from hypothesis import given
from hypothesis import strategies as st

ABSENT = None
RUN_ONLY = (
    "job",
    "job_file",
    "arguments",
    "work_dir",
    "image_digest",
    "java",
    "spark_home",
    "python",
    "jvm_options",
    "spark_conf",
)


def parse(content):
    return parse_launch(json.dumps(content).encode())


def test_reads_back_what_it_wrote(launch, tmp_path):
    spec = LaunchSpec(**launch())
    spec.write(tmp_path / "launch.json")
    assert read_launch(tmp_path / "launch.json") == spec
    assert spec.nonce_bytes == bytes(range(32))


def test_only_the_owner_can_read_it(launch, tmp_path):
    LaunchSpec(**launch()).write(tmp_path / "launch.json")
    assert stat.S_IMODE((tmp_path / "launch.json").stat().st_mode) == 0o600


def test_attest_needs_no_job(launch):
    spec = parse(launch(month=ABSENT, input=ABSENT, **dict.fromkeys(RUN_ONLY)))
    assert spec.job is None


@pytest.mark.parametrize("key", RUN_ONLY)
def test_run_needs_each_key_of_a_job(launch, key):
    with pytest.raises(AgentError, match=rf"missing \['{key}'\]"):
        job_launch(parse(launch(**{key: ABSENT})))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("v", 2, id="other-version"),
        pytest.param("v", True, id="version-is-a-bool"),
        pytest.param("nonce", "AAAA", id="short-nonce"),
        pytest.param("nonce", "A" * 42 + "B", id="nonce-not-canonical"),
        pytest.param("nonce", "A" * 42 + "=", id="padded-nonce"),
        pytest.param("run_id", "", id="empty-run-id"),
        pytest.param("run_id", "a\nb", id="run-id-with-a-line-break"),
        pytest.param("run_id", "x" * 501, id="long-run-id"),
        pytest.param("run_id", 7, id="run-id-is-a-number"),
        pytest.param("run_id", "\ud800", id="run-id-is-a-surrogate"),
        pytest.param("results_dir", "results", id="relative-results"),
        pytest.param("results_dir", ["/"], id="results-is-a-list"),
        pytest.param("job", "../nytaxi", id="job-is-a-path"),
        pytest.param("job", "executor", id="job-of-an-executor"),
        pytest.param("job", "attest", id="job-of-an-attestation"),
        pytest.param("job_file", "nytaxi.py", id="relative-job-file"),
        pytest.param("month", "2018-13", id="thirteenth-month"),
        pytest.param("month", "2018-5", id="month-without-zero"),
        pytest.param("results_dir", "/host/../tmp/work", id="results-through-a-parent"),
        pytest.param("spark_home", "/host/x/../../opt/spark", id="spark-through-a-parent"),
        pytest.param("input", "file:///host/data/%2e%2e/%2e%2e/tmp", id="input-through-a-parent"),
        pytest.param("input", "/data", id="input-without-scheme"),
        pytest.param("input", "file://[", id="input-is-no-url"),
        pytest.param("attestation_url", "http://attest.example", id="plain-http"),
        pytest.param("attestation_url", "http://127.0.0.1.example:1", id="almost-loopback"),
        pytest.param("attestation_url", "ftp://127.0.0.1", id="ftp"),
        pytest.param("attestation_url", "file:///etc/passwd", id="file"),
        pytest.param("attestation_url", "https://user@attest.example", id="user-in-url"),
        pytest.param("attestation_url", "https://attest.example?x=1", id="query-in-url"),
        pytest.param("attestation_url", "https://attest.example:99999", id="no-such-port"),
        pytest.param("attestation_url", "https://", id="no-host"),
        pytest.param("attestation_api_version", "latest", id="api-version"),
        pytest.param("quote_provider", "none", id="unknown-provider"),
        pytest.param("image_digest", "sha256:ABC", id="image-digest"),
        pytest.param("arguments", "--month", id="arguments-are-text"),
        pytest.param("arguments", ["a\0b"], id="argument-with-nul"),
        pytest.param("arguments", ["--month", "2018-05", "--input", "file:///host/x"], id="input-unhashed"),
        pytest.param("arguments", ["--month", "2018-05", "--input=file:///host/x"], id="input-with-equals"),
        pytest.param("arguments", ["--month", "2018-05", "--in", "file:///host/x"], id="input-abbreviated"),
        pytest.param("arguments", ["--month", "2018-05", "--output", "/host/x"], id="output"),
        pytest.param("arguments", ["--month", "2018-05", "--output=/host/x"], id="output-with-equals"),
        pytest.param("arguments", ["--month", "2018-06"], id="another-month"),
        pytest.param("arguments", ["--month", "2018-05", "--month=2018-06"], id="second-month"),
        pytest.param("arguments", ["--month"], id="month-without-value"),
        *(
            pytest.param("arguments", ["--month", "2018-05", *more], id=f"month-as-{more[0]}")
            for option in ("--m", "--mo", "--mon", "--mont")
            for more in ([option, "2018-06"], [f"{option}=2018-06"])
        ),
        pytest.param("month", "2008-12", id="month-before-the-records"),
        pytest.param("arguments", [], id="month-without-argument"),
        pytest.param("month", None, id="argument-without-month"),
        pytest.param("arguments", [1], id="argument-is-a-number"),
        pytest.param("arguments", ["x"] * 257, id="many-arguments"),
        pytest.param("arguments", ["x" * 4097], id="long-argument"),
        pytest.param("jvm_options", ["-javaagent:/host/evil.jar"], id="java-agent"),
        pytest.param("spark_conf", {"spark.jars": "/host/evil.jar"}, id="foreign-jars"),
        pytest.param("spark_conf", {"spark.master": "spark://evil:7077"}, id="foreign-cluster"),
        pytest.param("spark_conf", {"spark.authenticate": "false"}, id="no-authentication"),
        pytest.param("spark_conf", {"spark.master": 2}, id="setting-is-a-number"),
        pytest.param("spark_conf", ["spark.master"], id="settings-are-a-list"),
        pytest.param("surprise", 1, id="unknown-key"),
    ],
)
def test_refuses(launch, key, value):
    with pytest.raises(AgentError, match=r"\[launch-invalid\]") as caught:
        parse(launch(**{key: value}))
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
    assert "expected: " in str(caught.value)
    assert len(str(caught.value)) < 1_500


EXECUTOR = {
    "app_id": "spark-0123",
    "cores": "2",
    "driver_url": "spark://CoarseGrainedScheduler@10.0.0.7:7078",
    "executor_id": "7",
    "memory": "1g",
    "pod_name": "nytaxi-exec-7",
    "resource_profile_id": "0",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("app_id", "spark 1", id="app-with-a-space"),
        pytest.param("cores", "0", id="no-cores"),
        pytest.param("driver_url", "spark://CoarseGrainedScheduler@a:1?x", id="driver-with-a-query"),
        pytest.param("driver_url", "http://10.0.0.7:7078", id="driver-of-another-scheme"),
        pytest.param("executor_id", "driver", id="executor-without-a-number"),
        pytest.param("executor_id", 7, id="number-for-text"),
        pytest.param("memory", "1g -javaagent:/host/evil.jar", id="option-behind-memory"),
        pytest.param("pod_name", "Pod", id="pod-in-capitals"),
        pytest.param("resource_profile_id", "-1", id="negative-profile"),
    ],
)
def test_what_spark_would_tell_an_executor_has_one_form(launch, name, value):
    assert parse(launch(executor=EXECUTOR)).executor == EXECUTOR
    with pytest.raises(AgentError, match=rf"launch-invalid.*executor {name}"):
        parse(launch(executor=EXECUTOR | {name: value}))


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param({}, id="nothing"),
        pytest.param(EXECUTOR | {"class_path": "/host/evil.jar"}, id="one-more"),
        pytest.param({key: EXECUTOR[key] for key in sorted(EXECUTOR)[1:]}, id="one-less"),
        pytest.param([EXECUTOR], id="array"),
    ],
)
def test_an_executor_is_told_these_things_and_no_others(launch, executor):
    with pytest.raises(AgentError, match=r"launch-invalid.*executor"):
        parse(launch(executor=executor))


BLOB = {"name": "part 1.parquet", "bytes": 7, "etag": "0x8D4", "sas": "sv=2021-12-02&sig=c2VjcmV0%3D"}
BLOBS = {"input": "https://account.blob.core.windows.net/trips/2018", "input_files": [BLOB]}


RESULTS = {"url": "https://account.blob.core.windows.net/runs/try.tar", "sas": "sp=cw&sig=c2VjcmV0"}


def test_results_may_go_to_a_blob(launch):
    launched = parse(launch(results_blob=RESULTS))
    assert launched.results_blob == RESULTS
    assert "c2VjcmV0" not in repr(launched)


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        pytest.param([], "object", id="list"),
        pytest.param({}, "missing", id="empty"),
        pytest.param(RESULTS | {"more": "x"}, "more", id="one-more-member"),
        pytest.param(RESULTS | {"sas": ""}, "SAS, which is not shown", id="no-sas"),
        pytest.param(RESULTS | {"url": "http://account.example/runs/try.tar"}, "https", id="no-tls"),
        pytest.param(RESULTS | {"url": "https://user@a.example/runs/t.tar"}, "without user", id="user"),
    ],
)
def test_results_go_nowhere_else(launch, blob, why):
    with pytest.raises(AgentError, match=rf"launch-invalid.*{why}") as caught:
        parse(launch(results_blob=blob))
    assert "c2VjcmV0" not in str(caught.value)


def test_a_hardware_enclave_sends_nothing_in_clear(launch):
    blob = RESULTS | {"url": "http://127.0.0.1:10000/account/runs/try.tar"}
    with pytest.raises(AgentError, match=r"launch-invalid.*results_blob"):
        parse(launch(quote_provider="occlum", results_blob=blob))


def test_an_input_of_blobs_is_an_address_with_a_list(launch):
    assert parse(launch(**BLOBS)).input_files == [BLOB]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"input": None}, "input", id="no-address"),
        pytest.param({"input": "file:///data"}, "https", id="a-folder"),
        pytest.param({"input": "http://account.blob.core.windows.net/trips"}, "https", id="no-tls"),
        pytest.param({"input": "https://a.net/trips?sig=c2VjcmV0"}, "without user, query", id="query"),
        pytest.param({"input": "https://a:c2VjcmV0@a.net/trips"}, "without user, query", id="password"),
        pytest.param(
            {"input": "http://127.0.0.1:1/a/trips", "quote_provider": "occlum"}, "loopback", id="seen-by-host"
        ),
        pytest.param({"input_files": {}}, "array", id="no-list"),
        pytest.param({"input_files": []}, "no blob", id="empty"),
        pytest.param({"input_files": [BLOB] * 2}, "one twice", id="twice"),
        pytest.param({"input_files": [BLOB] * 257}, "at most 256", id="too-many"),
        pytest.param({"input_files": [BLOB | {"url": "x"}]}, "url", id="one-more-member"),
        pytest.param({"input_files": [BLOB | {"sas": "c2VjcmV0 "}]}, "SAS, which is not shown", id="no-sas"),
        pytest.param({"input_files": [BLOB | {"sas": ["c2VjcmV0"]}]}, "string", id="sas-of-another-type"),
        pytest.param({"input_files": [BLOB | {"etag": 'x" '}]}, "ETag", id="etag"),
        pytest.param({"input_files": [BLOB | {"bytes": 0}]}, "size", id="no-bytes"),
        pytest.param({"input_files": [BLOB | {"bytes": True}]}, "size", id="bytes-of-another-type"),
        pytest.param({"input_files": [BLOB | {"name": "../a.parquet"}]}, "name", id="another-folder"),
    ],
)
def test_what_no_pipeline_lists_is_refused_and_no_credential_is_printed(launch, changes, why):
    with pytest.raises(AgentError, match=rf"\[launch-invalid\].*{why}") as caught:
        parse(launch(**BLOBS | changes))
    assert "c2VjcmV0" not in str(caught.value).replace(changes.get("input") or "", "")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"\xff\xfe{}", id="not-utf-8"),
        pytest.param(b'\xef\xbb\xbf{"v":1}', id="byte-order-mark"),
        pytest.param(b'{"v":NaN}', id="not-a-number"),
        pytest.param(b'{"v":' + b"1" * 5_000 + b"}", id="huge-number"),
        pytest.param(b"[" * 100_000, id="deep-nesting"),
        pytest.param(b"{}" + b" " * 300_000, id="too-large"),
        pytest.param(b"{}", id="no-keys"),
    ],
)
def test_refuses_bytes(raw):
    with pytest.raises(AgentError, match=r"\[launch-invalid\]"):
        parse_launch(raw)


def test_refuses_a_key_that_occurs_twice(launch):
    raw = json.dumps(launch()).encode()
    parse_launch(raw)
    with pytest.raises(AgentError, match="occurs twice"):
        parse_launch(raw.replace(b'{"v": 1,', b'{"v": 1, "v": 1,'))


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(raw):
    with pytest.raises(AgentError):
        parse_launch(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(LaunchSpec.__dataclass_fields__)), value=json_values)
def test_any_value_is_accepted_or_refused_by_name(key, value):
    content = {
        "v": 1,
        "nonce": "A" * 43,
        "run_id": "r",
        "results_dir": "/r",
        "attestation_url": "https://attest.example",
        "attestation_api_version": "2022-08-01",
        "quote_provider": "occlum",
    }
    with contextlib.suppress(AgentError):
        assert getattr(parse(content | {key: value}), key) == value


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AgentError, match="launch-unreadable") as caught:
        read_launch(tmp_path / "absent.json")
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
