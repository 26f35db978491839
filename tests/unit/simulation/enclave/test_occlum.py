"""The stand-in as its scripts call it: a folder, a key, a command line."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave.container import sigstruct
from confidential_spark.enclave.occlum_config import EnclaveSizing, render_occlum_json
from confidential_spark.simulation.enclave import occlum
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PACKAGE_DIR = Path(occlum.__file__).resolve().parents[3]


@cache
def sgx_key_pem() -> bytes:
    return pem(rsa.generate_private_key(public_exponent=3, key_size=3072))


def pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """An initialised instance in the present folder, with one program in its image."""
    folder = tmp_path / "enclave"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert occlum.main(["init"]) == 0
    made = occlum.Instance(folder)
    configure(made)
    program(made)
    return made


def configure(instance, **changes) -> None:
    document = json.loads(render_occlum_json(EnclaveSizing()))
    document["entry_points"] = ["/bin"]
    document["env"] = {"default": ["OCCLUM=yes"], "untrusted": ["ALLOWED"]}
    document["metadata"] |= changes
    instance.configuration.write_text(json.dumps(document))


def program(instance, text: str = "#!/bin/sh\nexit 0\n") -> None:
    path = instance.image / "opt" / "app" / "program"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(sgx_key_pem())
    return path


@pytest.fixture
def built(instance, key_file):
    assert occlum.main(["build", "--sign-key", str(key_file)]) == 0
    return instance


def printed(capsys, what: str) -> str:
    capsys.readouterr()
    assert occlum.main(["print", what]) == 0
    return capsys.readouterr().out.strip()


def run(instance, *arguments: str) -> int:
    """Run with the image folder as the container's root, so that every measured file is there."""
    return occlum.run(instance, arguments, root=instance.image)


@pytest.fixture(autouse=True)
def free_port(monkeypatch):
    """Any port, because tests run beside each other."""
    monkeypatch.setattr("confidential_spark.enclave.layout.SIMULATED_ATTESTATION_URL", "http://127.0.0.1:0")


@pytest.fixture
def kept_signals():
    """The stand-in takes over signals of a process that ends with it; a test's goes on."""
    before = {number: signal.getsignal(number) for number in occlum.STOPPING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_measurement_is_the_signed_one(built, capsys):
    signed = sigstruct.parse(next(sigstruct.find(built.signed_enclave.read_bytes())))

    assert printed(capsys, "mrenclave") == signed.mrenclave
    assert printed(capsys, "mrsigner") == signed.mrsigner


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda instance: program(instance, "#!/bin/sh\nexit 1\n"), id="program"),
        pytest.param(lambda instance: configure(instance, version_number=3), id="configuration"),
        pytest.param(lambda instance: (instance.image / "more").touch(), id="another-file"),
    ],
)
def test_whatever_is_measured_changes_mrenclave(built, key_file, capsys, change):
    before = printed(capsys, "mrenclave")
    change(built)
    occlum.main(["build", "--sign-key", str(key_file)])

    assert printed(capsys, "mrenclave") != before


def test_building_again_gives_the_same_measurement(built, key_file, capsys):
    before = printed(capsys, "mrenclave")
    occlum.main(["build", "--sign-key", str(key_file)])

    assert printed(capsys, "mrenclave") == before


def test_the_template_is_debuggable_as_occlums_is(tmp_path, key_file, monkeypatch):
    """A script that forgets to put its own configuration there must not get a production enclave."""
    assert occlum.main(["new", str(tmp_path / "new")]) == 0
    monkeypatch.chdir(tmp_path / "new")
    assert occlum.main(["build", "--sign-key", str(key_file)]) == 0

    assert occlum.signed_identity(occlum.Instance(tmp_path / "new")).debuggable is True


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 0", 0, id="success"),
        pytest.param("exit 80", 80, id="failure"),
        pytest.param("kill -KILL $$", 137, id="killed"),
    ],
)
def test_the_programs_exit_code_is_passed_on(built, script, code):
    assert run(built, "/bin/sh", "-c", script) == code


@pytest.mark.usefixtures("kept_signals")
def test_a_program_gets_its_enclaves_environment_and_nothing_of_the_hosts(built, monkeypatch, tmp_path):
    monkeypatch.setenv("ALLOWED", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET", "of the host")

    run(built, "/bin/sh", "-c", f"env > {tmp_path / 'env'}")

    lines = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    identity = json.loads(lines.pop("CONFIDENTIAL_SPARK_SIMULATED_ENCLAVE"))
    assert identity["mrenclave"] == occlum.signed_identity(built).mrenclave
    assert {name: lines[name] for name in lines if name not in ("PWD", "_", "SHLVL", "OLDPWD")} == {
        "OCCLUM": "yes",
        "ALLOWED": "1",
    }


@pytest.mark.usefixtures("kept_signals")
def test_every_run_says_that_it_is_simulated(built, capsys):
    run(built, "/bin/true")

    assert capsys.readouterr().out.startswith("SIMULATED – proves nothing about hardware · MRENCLAVE ")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(lambda i: program(i, "evil"), "enclave-changed", id="file"),
        pytest.param(lambda i: configure(i, debuggable=True), "enclave-changed", id="configuration"),
        pytest.param(lambda i: i.measured.write_text("{}"), "enclave-changed", id="listing"),
        pytest.param(lambda i: i.measured.write_text("{"), "enclave-changed", id="listing-malformed"),
        pytest.param(lambda i: i.signed_enclave.write_bytes(b""), "sigstruct-invalid", id="signature-gone"),
        pytest.param(lambda i: i.signed_enclave.unlink(), "enclave-not-built", id="not-built"),
    ],
)
def test_what_was_not_signed_does_not_start(built, change, code):
    change(built)

    with pytest.raises(EnclaveError) as refused:
        run(built, "/bin/true")

    assert refused.value.code == code


AGENT = "/opt/confidential-spark/bin/enclave-agent"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("/opt/python/bin/python3", "-c", "print('host code')"), id="interpreter"),
        pytest.param(("/opt/python/bin/python3", AGENT), id="interpreter-with-the-agent"),
        pytest.param(("/opt/jre/bin/java", "-version"), id="java"),
        pytest.param(("/opt/confidential-spark/jobs/nytaxi.py",), id="another-script"),
        pytest.param(("/opt/confidential-spark/bin/other",), id="beside"),
        pytest.param((f"{AGENT}-2",), id="same-beginning"),
        pytest.param((f"{AGENT}/../../../python/bin/python3", "-c", "1"), id="parent"),
        pytest.param((AGENT[1:],), id="relative"),
        pytest.param(("/opt/confidential-spark/bin",), id="its-folder"),
        pytest.param(("/host/enclave-agent",), id="of-the-host"),
    ],
)
def test_the_projects_enclave_is_entered_at_its_agent_only(instance, key_file, capfd, arguments):
    """A host that could start Python would have any code, and any quote, under the approved measurement."""
    instance.configuration.write_text(render_occlum_json(EnclaveSizing()))
    assert occlum.main(["build", "--sign-key", str(key_file)]) == 0

    with pytest.raises(EnclaveError) as refused:
        run(instance, *arguments)

    assert refused.value.code == "entry-point-refused"
    assert "host code" not in capfd.readouterr().out


@pytest.mark.usefixtures("kept_signals")
def test_a_script_is_an_entry_point_and_gets_its_arguments(instance, key_file, tmp_path, capfd):
    script = tmp_path / "agent"
    script.write_text('#!/bin/sh\necho "$0 $*"\n')
    script.chmod(0o755)
    document = json.loads(render_occlum_json(EnclaveSizing())) | {"entry_points": [str(script)]}
    instance.configuration.write_text(json.dumps(document))
    assert occlum.main(["build", "--sign-key", str(key_file)]) == 0

    assert run(instance, str(script), "attest") == 0
    assert f"{script} attest\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [pytest.param((), id="none"), pytest.param(("/usr/bin/env",), id="elsewhere")],
)
def test_an_enclave_is_entered_at_its_entry_points_only(built, arguments):
    with pytest.raises(EnclaveError) as refused:
        run(built, *arguments)

    assert refused.value.code == "entry-point-refused"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"no key", "sign-key-invalid", id="no-pem"),
        pytest.param(pem(ec.generate_private_key(ec.SECP256R1())), "sign-key-invalid", id="curve"),
        pytest.param(pem(rsa.generate_private_key(65537, 2048)), "sign-key-invalid", id="other-rsa"),
    ],
)
def test_a_useless_key_signs_nothing(instance, key_file, capsys, content, code):
    key_file.write_bytes(content)

    assert occlum.main(["build", "--sign-key", str(key_file)]) == 1
    assert f"[{code}]" in capsys.readouterr().err
    assert not instance.signed_enclave.exists()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param("{}", id="empty"),
        pytest.param('{"metadata": {"product_id": "one"}}', id="other-types"),
    ],
)
def test_an_unusable_configuration_is_refused(instance, key_file, capsys, text):
    instance.configuration.write_text(text)

    assert occlum.main(["build", "--sign-key", str(key_file)]) == 1
    assert "[occlum-json-invalid]" in capsys.readouterr().err


def test_a_second_init_destroys_nothing(instance, capsys):
    assert occlum.main(["init"]) == 1
    assert "[enclave-initialised]" in capsys.readouterr().err
    assert (instance.image / "opt/app/program").exists()


def test_build_without_init_is_refused(tmp_path, monkeypatch, key_file, capsys):
    monkeypatch.chdir(tmp_path)

    assert occlum.main(["build", "--sign-key", str(key_file)]) == 1
    assert "[enclave-not-initialised]" in capsys.readouterr().err


PROGRAM = """
import sys
from confidential_spark.enclave import layout as image_layout
image_layout.SIMULATED_ATTESTATION_URL = "http://127.0.0.1:0"
from confidential_spark.simulation.enclave import occlum
sys.exit(occlum.run(occlum.Instance(occlum.Path.cwd()), sys.argv[2:], root=occlum.Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("trap", "code"),
    [
        pytest.param("trap 'exit 7' TERM", 7, id="its-own-code"),
        pytest.param("trap 'exit 0' TERM", 143, id="never-a-success"),
        pytest.param("true", 143, id="no-handler"),
    ],
)
def test_term_reaches_the_program_and_is_never_a_success(built, tmp_path, trap, code):
    ready = tmp_path / "ready"
    script = f"{trap}; touch {ready}; while :; do sleep 0.05; done"
    command = [sys.executable, "-c", PROGRAM, str(built.image), "/bin/sh", "-c", script]
    environment = {"PYTHONPATH": str(PACKAGE_DIR), "PATH": os.environ["PATH"]}
    process = subprocess.Popen(command, cwd=built.folder, env=environment)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)

    process.terminate()

    assert process.wait(30) == code
