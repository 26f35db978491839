"""`attest` and `run` with the loopback attestation service, and shell scripts for Java and Python."""

from __future__ import annotations

import base64
import cProfile
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confidential_spark.agent import protocol, runner
from confidential_spark.agent.attestation import attest as enclave_attestation
from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.attestation.quote import OcclumQuote, software_quote
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch import image_paths as image
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS, ONE_PROCESS_SETTINGS
from confidential_spark.agent.launch.launch_file import LaunchSpec
from confidential_spark.enclave.archives import unpack_results
from confidential_spark.simulation.service.server import LoopbackAttestationService
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.azure.blob_account import UploadAccount
from tests.support.fakes.faulty_service import Fault, FaultyService
from tests.unit.agent.conftest import JOBS

SUMMARY = '{"job": "nytaxi", "rows": {"input": 3, "accepted": 2, "rejected": 1}}'
# Called with -s -P JOB COMMAND …; the last argument of the command `finish` is the results folder.
QUERY = """#!/bin/sh
[ "$4" != query ] || { echo '{"job": "nytaxi"}'; exit 0; }
for results; do :; done
"""
JOB = f"""{QUERY}
echo "Input DataFrame Count: 3"
echo '{SUMMARY}' > "$results/summary.json"
printf table > "$results/by_hour.parquet"
"""


@pytest.fixture(scope="module")
def service():
    with LoopbackAttestationService() as running:
        yield running


@pytest.fixture
def spec(launch, service, tmp_path):
    month = tmp_path / "puMonth=5"
    month.mkdir()
    (month / "a.parquet").write_bytes(b"trips")

    def make(script=JOB, spark="true", **changes):
        for name, content in (("python", script), ("java", f"#!/bin/sh\n{spark}")):
            (tmp_path / name).write_text(content)
            (tmp_path / name).chmod(0o755)
        programs = {name: str(tmp_path / name) for name in ("python", "java")}
        values = programs | {"input": month.as_uri(), "attestation_url": service.url}
        return LaunchSpec(**launch(**values | changes))

    return make


def results(spec):
    return (
        {path.name for path in Path(spec.results_dir).iterdir()} if Path(spec.results_dir).is_dir() else set()
    )


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_attest_leaves_a_quote_and_a_token_for_the_nonce(launch, service):
    spec = LaunchSpec(**launch(attestation_url=service.url, job=None, job_file=None))
    runner.attest(spec)
    record = json.loads((Path(spec.results_dir) / "attestation.json").read_text())
    runtime = json.loads(decoded(record["runtime_data"]))
    assert runtime["nonce"] == spec.nonce
    assert runtime["job"]["name"] == "attest"
    assert runtime["job"]["file_sha256"] == hashlib.sha256(b"").hexdigest()
    assert results(spec) == {"attestation.json"}
    measured = simulated_measurement(Path(spec.jobs_dir))
    assert claims(record["token"])["x-ms-sgx-mrenclave"] == measured.mrenclave


def test_without_a_jobs_folder_the_job_files_own_is_measured(launch, service, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.py").write_text("print(1)\n")
    job_file = tmp_path / "jobs" / "mine.py"
    spec = LaunchSpec(**launch(attestation_url=service.url, jobs_dir=None, job_file=str(job_file)))
    runner.attest(spec)
    record = json.loads((Path(spec.results_dir) / "attestation.json").read_text())
    measured = simulated_measurement(job_file.parent)
    assert claims(record["token"])["x-ms-sgx-mrenclave"] == measured.mrenclave


@pytest.fixture
def signed(spec):
    """Run once; return the specification, the statement and its signature's parts."""
    launched = spec()
    before = datetime.now(UTC).replace(microsecond=0)
    runner.run(launched)
    envelope = json.loads((Path(launched.results_dir) / "envelope.json").read_text())
    payload = base64.b64decode(envelope["payload"])
    return launched, json.loads(payload), envelope, payload, before


def test_run_signs_with_the_key_in_the_quote(signed):
    _, statement, envelope, payload, _ = signed
    runtime = decoded(statement["predicate"]["runtime_data"])
    jwk = json.loads(runtime)["jwk"]
    x, y = (int.from_bytes(decoded(jwk[name])) for name in ("x", "y"))
    (signature,) = envelope["signatures"]
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        base64.b64decode(signature["sig"]),
        protocol.pre_authentication_encoding(envelope["payloadType"], payload),
        ec.ECDSA(hashes.SHA256()),
    )
    assert signature["keyid"] == protocol.jwk_thumbprint(jwk)
    assert protocol.report_data(runtime) in decoded(statement["predicate"]["quote"])
    assert set(jwk) == {"kty", "crv", "x", "y"}


def test_run_states_what_ran_on_what(signed):
    spec, statement, _, _, _ = signed
    predicate = statement["predicate"]
    job_file = Path(spec.job_file).read_bytes()
    assert {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]} == {
        "by_hour.parquet": hashlib.sha256(b"table").hexdigest(),
        "summary.json": hashlib.sha256(SUMMARY.encode() + b"\n").hexdigest(),
    }
    assert predicate["job"] == {
        "name": "nytaxi",
        "file_sha256": hashlib.sha256(job_file).hexdigest(),
        "arguments": ["--month", "2018-05"],
        "arguments_sha256": protocol.arguments_sha256(["--month", "2018-05"]),
    }
    assert predicate["inputs"] == [
        {"uri": spec.input + "/a.parquet", "bytes": 5, "sha256": hashlib.sha256(b"trips").hexdigest()}
    ]
    assert predicate["rows"] == {"input": 3, "accepted": 2, "rejected": 1}
    assert (predicate["trust"], predicate["notice"]) == ("simulated", protocol.SIMULATED_NOTICE)
    assert {"run_id", "nonce", "month", "image_digest", "started_at", "finished_at", "token", "v"} < set(
        predicate
    )


def test_the_token_was_issued_during_the_run(signed):
    _, statement, _, _, before = signed
    predicate = statement["predicate"]
    started, finished = (datetime.fromisoformat(predicate[name]) for name in ("started_at", "finished_at"))
    issued = datetime.fromtimestamp(claims(predicate["token"])["iat"], UTC)
    assert before <= started <= issued <= finished
    assert predicate["started_at"].endswith("Z")


def test_every_run_has_its_own_key(spec, tmp_path):
    keys = set()
    for name in ("one", "two"):
        launched = spec(results_dir=str(tmp_path / name))
        runner.run(launched)
        envelope = json.loads((tmp_path / name / "envelope.json").read_text())
        keys.add(envelope["signatures"][0]["keyid"])
    assert len(keys) == 2


def test_progress_and_the_notice_are_printed_but_no_token(spec, capsys):
    launched = spec()
    runner.run(launched)
    out = capsys.readouterr().out
    token = json.loads(
        base64.b64decode(json.loads((Path(launched.results_dir) / "envelope.json").read_text())["payload"])
    )["predicate"]["token"]
    assert protocol.SIMULATED_NOTICE in out
    assert "Input DataFrame Count: 3" in out
    assert [line.split('"')[3] for line in out.splitlines() if line.startswith("PROGRESS")] == [
        "attest", "attest", "spark", "spark", "spark", "sign", "sign",
    ]  # fmt: skip
    assert token not in out
    assert token.split(".")[2] not in out


@pytest.mark.parametrize(
    ("script", "exit_code", "code"),
    [
        pytest.param("#!/bin/sh\nexit 65", ExitCode.BAD_LAUNCH, "job-refused-arguments", id="query-fails"),
        pytest.param(QUERY + "exit 1", ExitCode.SPARK_FAILED, "job-finish-failed", id="finish-fails"),
        pytest.param(QUERY + "exit 66", ExitCode.INPUT_UNUSABLE, "input-unusable", id="input-refused"),
        pytest.param(QUERY, ExitCode.RESULTS_INCOMPLETE, "summary-missing", id="no-results"),
        pytest.param(
            JOB + 'ln -s /etc/passwd "$results/x"',
            ExitCode.RESULTS_INCOMPLETE,
            "results-foreign-file",
            id="symlink",
        ),
        pytest.param(
            JOB + 'touch "$results/envelope.json"',
            ExitCode.RESULTS_INCOMPLETE,
            "results-foreign-file",
            id="forged-envelope",
        ),
        pytest.param(
            JOB + 'touch "${results%/work/*}/puMonth=5/b.parquet"',
            ExitCode.INPUT_CHANGED,
            "input-changed",
            id="input-changed",
        ),
    ],
)
def test_a_failed_run_signs_nothing(spec, script, exit_code, code):
    launched = spec(script)
    with pytest.raises(AgentError) as caught:
        runner.run(launched)
    assert (caught.value.exit_code, caught.value.code) == (exit_code, code)
    assert results(launched) == set()
    assert list(Path(launched.work_dir).iterdir()) == []


def test_a_spark_that_fails_signs_nothing(spec):
    launched = spec(spark="exit 1")
    with pytest.raises(AgentError, match="spark-failed"):
        runner.run(launched)
    assert results(launched) == set()
    assert list(Path(launched.work_dir).iterdir()) == []


def test_a_job_file_that_changes_during_the_run_is_refused(spec, tmp_path):
    job = tmp_path / "jobs" / "nytaxi.py"
    job.parent.mkdir()
    job.write_text("print(1)")
    launched = spec(JOB + f"echo 'print(2)' > {job}", jobs_dir=str(job.parent), job_file=str(job))
    with pytest.raises(AgentError, match="job-changed"):
        runner.run(launched)
    assert "envelope.json" not in results(launched)


def test_a_statement_that_no_verifier_reads_is_not_signed(spec, monkeypatch):
    monkeypatch.setattr(runner, "MAX_STATEMENT_BYTES", 1_000)
    launched = spec()
    with pytest.raises(AgentError, match="statement-too-large") as caught:
        runner.run(launched)
    assert caught.value.exit_code is ExitCode.RESULTS_INCOMPLETE
    assert results(launched) == set()


def test_a_month_needs_an_input_that_is_hashed(spec):
    launched = spec(input=None)
    with pytest.raises(AgentError, match="input"):
        runner.run(launched)
    assert results(launched) == set()


def test_leftovers_are_not_signed(spec):
    launched = spec()
    Path(launched.results_dir).mkdir()
    (Path(launched.results_dir) / "old.parquet").touch()
    with pytest.raises(AgentError, match=r"old\.parquet"):
        runner.run(launched)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"job_file": "/usr/nytaxi.py"}, "which is measured", id="job-outside-the-measured-folder"
        ),
        pytest.param(
            {"quote_provider": "occlum", "java": "/host/java"}, "image's own", id="java-of-the-host"
        ),
        pytest.param({"job_file": None}, "missing", id="no-job-file"),
    ],
)
def test_programs_that_are_not_measured_are_refused(spec, changes, text):
    launched = spec(**changes)
    with pytest.raises(AgentError, match=text) as caught:
        runner.run(launched)
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
    assert results(launched) == set()


class HardwareQuote:
    """The development quoting enclave, for a run that takes the path of real hardware."""

    trust = protocol.TRUST_HARDWARE

    def quote(self, report_data):
        return software_quote(simulated_measurement(JOBS)).quote(report_data)


@pytest.fixture
def occlum(spec, monkeypatch, tmp_path):
    """Make launches of an image whose programs are the test's."""
    monkeypatch.setattr(enclave_attestation, "OcclumQuote", HardwareQuote)
    own = {"JAVA": tmp_path / "java", "PYTHON": tmp_path / "python", "SPARK_HOME": "/opt/spark"}
    for name, path in (own | {"JOBS_DIR": JOBS}).items():
        monkeypatch.setattr(image, name, path)
    return lambda script=JOB, **changes: spec(script, quote_provider="occlum", **changes)


def test_in_an_image_no_module_of_python_is_a_job(occlum, tmp_path):
    """`cProfile.py` runs the program that its arguments name: the host's."""
    (tmp_path / "evil.py").write_text("")
    arguments = ["-o", "/dev/null", str(tmp_path / "evil.py")]
    launched = occlum(job_file=cProfile.__file__, arguments=arguments, month=None)
    with pytest.raises(AgentError, match="job_file"):
        runner.run(launched)
    assert results(launched) == set()


def predicate_of(spec):
    envelope = json.loads((Path(spec.results_dir) / "envelope.json").read_text())
    return json.loads(base64.b64decode(envelope["payload"]))


def test_rows_are_not_results(spec):
    launched = spec(
        spark='for last; do :; done; echo $last; while [ "$1" != --rows ]; do shift; done; touch "$2/a"'
    )
    runner.run(launched)
    assert results(launched) == {"summary.json", "by_hour.parquet", "envelope.json"}


def test_in_occlum_spark_reads_the_copy_that_was_hashed(occlum, tmp_path):
    """The host exchanges the input while Spark runs, and puts it back: Spark must not see it."""
    spark = """
while [ $# -gt 1 ]; do case $1 in --input) input=${2#file://} ;; --rows) rows=$2 ;; esac; shift; done
"""
    swap = f'echo other > \'{tmp_path}/puMonth=5/a.parquet\'\ncat "$input/a.parquet" > "$rows/seen"\n'
    back = f"printf trips > '{tmp_path}/puMonth=5/a.parquet'\n"
    keep = 'cp "$results/../rows/seen" "$results/seen"; [ ! -e "$results/../../input" ] || exit 9\n'
    spec = occlum(JOB + keep, spark=spark + swap + back)
    runner.run(spec)
    assert (Path(spec.results_dir) / "seen").read_text() == "trips"
    (given,) = predicate_of(spec)["predicate"]["inputs"]
    assert given == {
        "uri": spec.input + "/a.parquet", "bytes": 5, "sha256": hashlib.sha256(b"trips").hexdigest()
    }  # fmt: skip


def test_spark_reads_the_blobs_that_the_agent_has_downloaded(spec, tmp_path, capfd):
    def account(request, headers):
        assert (request.target, headers["if-match"]) == ("/trips/a.parquet?sv=1&sig=CANARY", '"0x8D4"')
        return Fault(206, b"trips", {"Content-Range": "bytes 0-4/5"})

    spark = """
while [ $# -gt 1 ]; do case $1 in --input) input=${2#file://} ;; --rows) rows=$2 ;; esac; shift; done
cat "$input/a.parquet" > "$rows/seen"
"""
    keep = 'cp "$results/../rows/seen" "$results/seen"; [ ! -e "$results/../../input" ] || exit 9\n'
    blob = {"name": "a.parquet", "bytes": 5, "etag": "0x8D4", "sas": "sv=1&sig=CANARY"}
    with FaultyService(proper=account) as storage:
        launched = spec(JOB + keep, spark, input=f"{storage.url}/trips", input_files=[blob])
        runner.run(launched)
    assert (Path(launched.results_dir) / "seen").read_text() == "trips"
    (given,) = predicate_of(launched)["predicate"]["inputs"]
    assert given == {
        "uri": f"{storage.url}/trips/a.parquet", "bytes": 5, "sha256": hashlib.sha256(b"trips").hexdigest()
    }  # fmt: skip
    assert "CANARY" not in "".join(capfd.readouterr())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]


def unpacked(account, folder):
    (archive,) = account.blobs.values()
    folder.mkdir()
    return {name: (folder / name).read_bytes() for name in unpack_results([archive], folder)}


def test_signed_results_are_uploaded_and_the_hosts_folder_gets_none(spec, tmp_path, capfd):
    account = UploadAccount()
    with FaultyService(proper=account) as storage:
        blob = {"url": f"{storage.url}/tries/try.tar", "sas": "sp=cw&sig=CANARY%3D"}
        launched = spec(results_blob=blob)
        runner.run(launched)
    assert results(launched) == set()
    found = unpacked(account, tmp_path / "unpacked")
    assert set(found) == {"summary.json", "by_hour.parquet", "envelope.json"}
    statement = json.loads(base64.b64decode(json.loads(found["envelope.json"])["payload"]))
    assert {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]} == {
        name: hashlib.sha256(found[name]).hexdigest() for name in ("summary.json", "by_hour.parquet")
    }
    assert list(Path(launched.work_dir).iterdir()) == []
    assert "CANARY" not in "".join(capfd.readouterr())


def test_results_that_nobody_takes_are_signed_for_nobody(spec):
    with FaultyService(proper=UploadAccount()) as storage:
        launched = spec(results_blob={"url": f"{storage.url}/tries/try.tar", "sas": "sp=cw&sig=other"})
        with pytest.raises(AgentError, match=r"results-not-uploaded") as caught:
            runner.run(launched)
    assert caught.value.exit_code is ExitCode.RESULTS_INCOMPLETE
    assert results(launched) == set()


def test_an_attestation_is_uploaded_like_results(launch, service, tmp_path):
    account = UploadAccount()
    with FaultyService(proper=account) as storage:
        blob = {"url": f"{storage.url}/tries/try.tar", "sas": "sp=cw&sig=CANARY%3D"}
        spec = LaunchSpec(**launch(attestation_url=service.url, job=None, job_file=None, results_blob=blob))
        runner.attest(spec)
    found = unpacked(account, tmp_path / "unpacked")
    assert set(json.loads(found["attestation.json"])) == {"quote", "token", "runtime_data"}


@pytest.mark.parametrize("provider", ["occlum", "software"])
def test_results_leave_the_enclave_only_when_they_are_signed(spec, occlum, provider):
    make = occlum if provider == "occlum" else spec
    launched = make(JOB + 'case "$results" in */work/private-*/results) ;; *) exit 9 ;; esac\n')
    seen = []
    original = runner.sign_envelope

    def sign(payload, key):
        seen.append(results(launched))
        return original(payload, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "sign_envelope", sign)
        runner.run(launched)
    assert seen == [set()]
    assert results(launched) == {"summary.json", "by_hour.parquet", "envelope.json"}
    assert list(Path(launched.work_dir).iterdir()) == []


def test_results_exchanged_outside_are_not_what_was_signed(occlum, monkeypatch):
    """Whatever the host does to the copies, the statement is about the private files."""
    launched = occlum(JOB)
    copy = runner.files.copy_results

    def copy_then_tamper(private, names, folder):
        copy(private, names, folder)
        (folder / "by_hour.parquet").write_text("evil")

    monkeypatch.setattr(runner.files, "copy_results", copy_then_tamper)
    runner.run(launched)
    digests = {entry["name"]: entry["digest"]["sha256"] for entry in predicate_of(launched)["subject"]}
    assert digests["by_hour.parquet"] == hashlib.sha256(b"table").hexdigest()


def test_without_room_for_the_results_there_is_no_envelope(spec, monkeypatch):
    launched = spec()
    planted = Path(launched.results_dir) / "by_hour.parquet"

    def plant(payload, key):
        planted.touch()
        return {}

    monkeypatch.setattr(runner, "sign_envelope", plant)
    with pytest.raises(AgentError, match="results-not-copied"):
        runner.run(launched)
    assert results(launched) == {"by_hour.parquet"}


def test_settings_that_protect_do_not_depend_on_the_host(spec):
    launched = spec(
        JOB + 'cp "$results/../rows/settings" "$results/settings"\n',
        spark='cp "$HOME/spark.conf" "$HOME/../rows/settings"\n',
        spark_conf={"spark.master": "local[1]"},
    )
    runner.run(launched)
    settings = dict(
        line.split(" ") for line in (Path(launched.results_dir) / "settings").read_text().splitlines()
    )
    assert settings == FIXED_SETTINGS | ONE_PROCESS_SETTINGS | {"spark.master": "local[1]"}


def test_hardware_quotes_need_the_library(occlum, monkeypatch):
    monkeypatch.setattr(enclave_attestation, "OcclumQuote", OcclumQuote)
    with pytest.raises(AgentError, match="quote-library"):
        runner.run(occlum())


def test_results_that_cannot_be_made_are_named(spec, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AgentError, match="results-dir-unusable"):
        runner.run(spec(results_dir=str(tmp_path / "file" / "results")))
