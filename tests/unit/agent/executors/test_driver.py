"""The driver's enclave and its executors', with software quotes and the loopback attestation service."""

from __future__ import annotations

import json
import socket
import stat
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confidential_spark.agent.attestation.attest import Attestation, attest_key
from confidential_spark.agent.data.files import InputFile
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors import driver, exchange
from confidential_spark.agent.executors.driver import executor_enclaves, peer_verifier
from confidential_spark.agent.executors.input_list import ListedFile
from confidential_spark.agent.executors.peer import PeerAttestation
from confidential_spark.agent.executors.secret_release import request_secret
from confidential_spark.agent.protocol import executor_role
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.fakes.faulty_service import FaultyService
from tests.unit.agent.executors.peers import DRIVER_JOB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from confidential_spark.agent.executors.secret_release import Grant
    from confidential_spark.agent.launch.launch_file import LaunchSpec


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "driver"
    folder.mkdir()
    return folder


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@contextmanager
def driver_of(spec: LaunchSpec, work: Path, inputs: Sequence[InputFile] = ()):
    key = new_key()
    with executor_enclaves(spec, key, attest_key(spec, key, DRIVER_JOB), work, inputs) as enclaves:
        yield enclaves


def ask(spec: LaunchSpec, executor_id: str = "1") -> Grant:
    key = new_key()
    own = attest_key(spec, key, executor_role(executor_id))
    return request_secret(
        (spec.pod_ip, spec.release_port),
        executor_id=executor_id,
        own=own.record(),
        runtime=own.runtime_data,
        key=key,
        verify=peer_verifier(spec, own),
    )


def shown(attestation: Attestation) -> PeerAttestation:
    return PeerAttestation.from_record(attestation.record())


def another_program(spec: LaunchSpec, tmp_path: Path) -> LaunchSpec:
    """Return the launch of an enclave of this run that measures other job files."""
    jobs = tmp_path / "other-jobs"
    jobs.mkdir()
    (jobs / "nytaxi.py").write_text("print('evil')\n")
    return replace(spec, jobs_dir=str(jobs), job_file=str(jobs / "nytaxi.py"))


def test_executors_get_the_secret_that_sparks_driver_reads(cluster, work):
    spec = cluster()
    with driver_of(spec, work) as enclaves:
        assert {ask(spec, id_).secret for id_ in "12"} == {enclaves.secret_file.read_bytes()}
        assert stat.S_IMODE(enclaves.secret_file.stat().st_mode) == 0o600
        assert [record["id"] for record in enclaves.records()] == ["1", "2"]


def test_spark_is_told_the_pods_address_and_the_private_file(cluster, work):
    with driver_of(cluster(), work) as enclaves:
        assert enclaves.settings() == {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.authenticate.secret.driver.file": str(work / "spark-secret"),
            "spark.authenticate.secret.executor.file": str(work / "spark-secret"),
        }


@pytest.mark.parametrize("failure", [None, AgentError, KeyboardInterrupt], ids=["end", "error", "signal"])
def test_secret_and_port_are_gone_with_the_run(cluster, work, failure):
    spec = cluster()
    error = failure and (failure() if failure is KeyboardInterrupt else intruder())
    with suppress(AgentError, KeyboardInterrupt), driver_of(spec, work) as enclaves:
        assert enclaves.secret_file.exists()
        if error:
            raise error
    assert list(work.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((spec.pod_ip, spec.release_port), 5)


def intruder() -> AgentError:
    return AgentError("Another program.", exit_code=71, code="peer-measurement")


def test_a_run_in_one_process_has_no_executors_and_opens_nothing(cluster, work):
    spec = cluster(spark_conf={"spark.master": "local[2]"})
    with driver_of(spec, work) as enclaves:
        assert enclaves is None
        assert list(work.iterdir()) == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((spec.pod_ip, spec.release_port), 5)


@pytest.mark.parametrize("key", ["pod_ip", "release_port"])
def test_a_distributed_run_needs_its_place_in_the_cluster(cluster, work, key):
    with (
        pytest.raises(AgentError, match=rf"launch-invalid.*missing \['{key}'\]"),
        driver_of(cluster(**{key: None}), work),
    ):
        pytest.fail("started")
    assert list(work.iterdir()) == []


def test_an_image_without_an_anchor_starts_no_run(cluster, anchor_file, work):
    anchor_file.unlink()
    with pytest.raises(AgentError, match="anchor-unusable"), driver_of(cluster(), work):
        pytest.fail("started")
    assert list(work.iterdir()) == []


def test_a_quote_about_another_key_starts_no_run(cluster, work):
    spec, key = cluster(), new_key()
    own, other = (attest_key(spec, each, DRIVER_JOB) for each in (key, new_key()))
    foreign = replace(own, quote=other.quote)
    with pytest.raises(AgentError, match="quote-foreign"), executor_enclaves(spec, key, foreign, work, []):
        pytest.fail("started")


def test_the_secret_is_not_written_through_somebodys_link(cluster, work, tmp_path):
    (work / "spark-secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError), driver_of(cluster(), work):
        pytest.fail("started")
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_without_an_attested_executor_is_no_result(cluster, work):
    with driver_of(cluster(), work) as enclaves, pytest.raises(AgentError, match="executors-missing"):
        enclaves.records()


def test_executors_get_the_list_of_what_the_driver_has_read(cluster, work):
    spec, digest = cluster(), "ab" * 32
    read = [InputFile(f"file:///host/data/input/{name}.parquet", 7, digest) for name in ("a", "b%20c")]
    with driver_of(spec, work, read):
        names = ["a.parquet", "b c.parquet"]
        assert ask(spec).inputs == [ListedFile(name, 7, digest) for name in names]


def test_input_that_no_executor_would_take_opens_no_port(cluster, work):
    spec = cluster()
    with (
        pytest.raises(AgentError, match="input-not-listable"),
        driver_of(spec, work, [InputFile("file:///host/data/input/a%0Ab.parquet", 7, "ab" * 32)]),
    ):
        pytest.fail("started")
    assert list(work.iterdir()) == []


def test_sparks_next_line_ends_a_run_that_another_program_joined(cluster, work, tmp_path, capsys):
    spec = cluster()
    with driver_of(spec, work) as enclaves:
        enclaves.say("before")
        with pytest.raises(AgentError, match="release-refused"):
            ask(another_program(spec, tmp_path))
        with pytest.raises(AgentError, match="peer-measurement"):
            enclaves.say("after")
    said = capsys.readouterr().out.splitlines()
    assert said.index("before") < said.index("after")


def test_pinned_keys_are_fetched_once_from_where_the_launch_says(cluster):
    with FaultyService() as provider:
        spec = cluster(attestation_url=provider.url)
        verify = peer_verifier(spec, attest_key(spec, new_key(), DRIVER_JOB))
        roles = [executor_role("1"), executor_role("2")]
        assert [verify(shown(attest_key(spec, new_key(), role)))[0] for role in roles] == roles
        assert [request.target for request in provider.requests].count("/certs") == 1


@contextmanager
def untrusted_issuer(folder: Path):
    """Serve TLS under a certificate that nobody signed; yields the address and who has called."""
    context, _ = exchange.tls_server(folder)
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, address = listener.accept()
            calls.append(address)
            with suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", calls
        thread.join(10)


def test_keys_that_are_not_pinned_come_from_the_images_issuer_only(cluster, anchor_file, tmp_path):
    """A host that could name another address would bring its own keys, and sign what it likes."""
    with FaultyService() as provider, untrusted_issuer(tmp_path / "tls") as (issuer, calls):
        members = json.loads(anchor_file.read_text()) | {"issuer": issuer, "token_signing_keys": []}
        anchor_file.write_text(json.dumps(members))
        spec = cluster(attestation_url=provider.url)
        own = attest_key(spec, new_key(), DRIVER_JOB)
        with pytest.raises(AgentError, match="attestation-certificate"):
            peer_verifier(spec, own)(shown(own))
        assert "/certs" not in [request.target for request in provider.requests]
    assert len(calls) == 1


def test_another_anchor_than_the_images_can_be_named(cluster, anchor_file, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "ANCHOR_FILE", tmp_path / "absent.json")
    spec = cluster()
    own = attest_key(spec, new_key(), DRIVER_JOB)
    assert peer_verifier(spec, own, anchor_file)(shown(own))[0] == DRIVER_JOB
