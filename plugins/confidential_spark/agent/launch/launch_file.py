"""The launch file: what the operator asks of the enclave, read as hostile input.

The host writes this file, and nothing measures it. So every value is bounded, unknown keys are refused, and
settings that could smuggle in other code come from closed lists (:mod:`.allowed_settings`).
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from confidential_spark.agent.bounded_http import LOOPBACK_HOSTS
from confidential_spark.agent.data.blobs import listed_blobs
from confidential_spark.agent.data.results_blob import ResultsBlob
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.launch.allowed_settings import MEMORY, allowed_jvm_option, spark_setting_form
from confidential_spark.agent.launch.json_input import parse_object
from confidential_spark.agent.protocol import (
    ABBREVIATED_MONTH,
    MONTH_PATTERN,
    NONCE_BYTES,
    RESERVED_JOBS,
    b64url,
    option_values,
)

Part = TypeVar("Part", "JobLaunch", "ClusterLaunch", "ExecutorLaunch")

VERSION = 1
MAX_FILE_BYTES = 256 * 1024
MAX_TEXT = 4_096
MAX_ITEMS = 256
QUOTE_PROVIDERS = ("occlum", "software")

NONCE = re.compile(r"[A-Za-z0-9_-]{43}")
RUN_ID = re.compile(r"[!-~]{1,500}")
JOB_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MONTH = re.compile(MONTH_PATTERN)
API_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?")
POD_IP = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
EXECUTOR_FORMS = {
    "app_id": re.compile(r"[A-Za-z0-9_-]{1,128}"),
    "cores": re.compile(r"[1-9][0-9]{0,3}"),
    "driver_url": re.compile(r"spark://CoarseGrainedScheduler@[A-Za-z0-9.-]{1,253}:[0-9]{1,5}"),
    "executor_id": re.compile(r"[0-9]{1,9}"),
    "memory": re.compile(MEMORY),
    "pod_name": re.compile(r"[a-z0-9.-]{1,253}"),
    "resource_profile_id": re.compile(r"[0-9]{1,9}"),
}
# And what a job's parser might take for them.
OURS = re.compile(r"--(i|in|inp|inpu|input|o|ou|out|outp|outpu|output)(=|\Z)")
IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """One launch of the enclave.

    The keys after ``quote_provider`` belong to `run`; `attest` needs none of them, except ``jobs_dir`` for
    the software quote of a simulated enclave.

    :param nonce: 32 bytes, base64url without padding.
    :param results_dir: where results go; empty at the start of `run`.
    :param jobs_dir: the job files that a simulated enclave measures as part of itself.
    :param input: location of the month's trip records, or None for jobs without input.
    :param input_files: the blobs to download from an ``input`` in Azure Blob Storage, see
        :class:`.ListedBlob`; they may carry credentials.
    :param results_blob: where results go instead of ``results_dir``, see :class:`.ResultsBlob`; it carries a
        credential.
    :param work_dir: scratch space; its content is worthless after the run.
    :param pod_ip: on Kubernetes, the address on which this enclave's Spark is reached by the run's others.
    :param release_port: on Kubernetes, where the driver's enclave hands out the Spark secret.
    :param executor: for `executor` only: what Spark tells an executor, see :data:`EXECUTOR_FORMS`.
    """

    v: int = VERSION
    nonce: str
    run_id: str
    results_dir: str
    attestation_url: str
    attestation_api_version: str
    quote_provider: str
    jobs_dir: str | None = None
    job: str | None = None
    job_file: str | None = None
    arguments: list[str] | None = None
    month: str | None = None
    input: str | None = None
    input_files: list[dict[str, Any]] | None = field(default=None, repr=False)
    results_blob: dict[str, str] | None = field(default=None, repr=False)
    work_dir: str | None = None
    image_digest: str | None = None
    java: str | None = None
    spark_home: str | None = None
    python: str | None = None
    jvm_options: list[str] | None = None
    spark_conf: dict[str, str] | None = None
    pod_ip: str | None = None
    release_port: int | None = None
    executor: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Check every value.

        :raises AgentError: ``launch-invalid``, naming the key.
        """
        _check(self)

    @property
    def in_occlum(self) -> bool:
        """Whether the enclave is real: its host is hostile, and it has no fork."""
        return self.quote_provider == "occlum"

    @property
    def distributed(self) -> bool:
        """Whether the executors are other enclaves, on Kubernetes."""
        return (self.spark_conf or {}).get("spark.master", "").startswith("k8s://")

    @property
    def nonce_bytes(self) -> bytes:
        """The nonce as its 32 bytes."""
        return urlsafe_b64decode(self.nonce + "=")

    def write(self, path: Path) -> None:
        """Write the launch file, readable by its owner only: it may carry storage credentials."""
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class JobLaunch:
    """The part of a launch that says which job runs, and how Spark is started."""

    job: str
    job_file: str
    arguments: list[str]
    work_dir: str
    image_digest: str
    java: str
    spark_home: str
    python: str
    jvm_options: list[str]
    spark_conf: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ClusterLaunch:
    """The part of a launch that an enclave needs to find the run's others."""

    pod_ip: str
    release_port: int


@dataclass(frozen=True, kw_only=True)
class ExecutorLaunch:
    """The part of a launch that makes an executor."""

    pod_ip: str
    release_port: int
    executor: dict[str, str]
    work_dir: str
    java: str
    spark_home: str
    python: str
    jvm_options: list[str]


ALL_KEYS = {field.name for field in fields(LaunchSpec)}
REQUIRED_KEYS = {"v"} | {each.name for each in fields(LaunchSpec) if each.default is MISSING}


def read_launch(path: Path) -> LaunchSpec:
    """Read and check the launch file.

    :raises AgentError: ``launch-unreadable`` or ``launch-invalid``.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AgentError(
            "The launch file cannot be read.",
            code="launch-unreadable",
            got=error.strerror,
            expected="the file named by --launch",
            action="start the agent through the operator, which writes the file",
        ) from error
    return parse_launch(raw)


def parse_launch(raw: bytes) -> LaunchSpec:
    """Parse strict JSON: UTF-8, no duplicate or unknown keys, bounded sizes, exact types.

    :raises AgentError: ``launch-invalid``.
    """
    if len(raw) > MAX_FILE_BYTES:
        refuse("the file", f"more than {MAX_FILE_BYTES} bytes", f"at most {MAX_FILE_BYTES} bytes")
    try:
        document = parse_object(raw)
    except ValueError as error:
        raise _invalid("the file", str(error), "one JSON object") from error
    if unknown := sorted(document.keys() - ALL_KEYS):
        refuse("the keys", f"unknown {unknown}", f"only {sorted(ALL_KEYS)}")
    if missing := sorted(REQUIRED_KEYS - document.keys()):
        refuse("the keys", f"missing {missing}", f"at least {sorted(REQUIRED_KEYS)}")
    return LaunchSpec(**document)


def job_launch(spec: LaunchSpec) -> JobLaunch:
    """Return the keys that `run` needs and `attest` does without.

    :raises AgentError: ``launch-invalid`` when one is missing.
    """
    return _part(spec, JobLaunch, "all keys of a run")


def cluster_launch(spec: LaunchSpec) -> ClusterLaunch:
    """Return the keys that a distributed run needs besides.

    :raises AgentError: ``launch-invalid`` when one is missing.
    """
    return _part(spec, ClusterLaunch, "all keys of a run on Kubernetes")


def executor_launch(spec: LaunchSpec) -> ExecutorLaunch:
    """Return the keys that `executor` needs.

    :raises AgentError: ``launch-invalid`` when one is missing.
    """
    return _part(spec, ExecutorLaunch, "all keys of an executor")


def _part(spec: LaunchSpec, kind: type[Part], expected: str) -> Part:
    values = {field.name: getattr(spec, field.name) for field in fields(kind)}
    if missing := sorted(name for name, value in values.items() if value is None):
        refuse("the keys", f"missing {missing}", expected)
    return kind(**values)


def refuse(key: str, got: object, expected: str) -> NoReturn:
    """Refuse the launch.

    :raises AgentError: ``launch-invalid``, always.
    """
    raise _invalid(key, got, expected)


def _invalid(key: str, got: object, expected: str) -> AgentError:
    return AgentError(
        f"The launch file is not usable: {key}.",
        code="launch-invalid",
        got=got,
        expected=expected,
        action="correct what starts the agent; docs/architecture.md describes the file",
    )


def _check(spec: LaunchSpec) -> None:
    if type(spec.v) is not int or spec.v != VERSION:
        refuse("v", spec.v, str(VERSION))
    _check_texts(spec)
    if b64url(spec.nonce_bytes) != spec.nonce or len(spec.nonce_bytes) != NONCE_BYTES:
        refuse("nonce", "not canonical base64url", "32 bytes in canonical base64url")
    _check_url("attestation_url", spec.attestation_url)
    _check_blobs(spec)
    if spec.quote_provider not in QUOTE_PROVIDERS:
        refuse("quote_provider", spec.quote_provider, " or ".join(QUOTE_PROVIDERS))
    if spec.job in RESERVED_JOBS:
        refuse("job", spec.job, "another name: an enclave without a job has this one")
    if spec.arguments is not None:
        _check_arguments(spec)
    _check_settings(spec)
    _check_cluster(spec)


def _check_arguments(spec: LaunchSpec) -> None:
    """Refuse arguments that say something else than the launch, which the statement repeats."""
    for argument in _items("arguments", spec.arguments, list):
        if OURS.match(_text("arguments", argument)):
            refuse("arguments", argument, "no input or output: the agent adds both")
        if ABBREVIATED_MONTH.match(argument):
            refuse("arguments", argument, "--month in full: a job's parser may read this as it")
    months = option_values(spec.arguments or [], "--month")
    if months != ([spec.month] if spec.month else []):
        refuse("month", f"{spec.month} beside --month {months}", "the one month of the arguments, or none")


def _check_texts(spec: LaunchSpec) -> None:
    """Check the keys whose value is one string, or null where the run does without."""
    for name, pattern in (
        ("nonce", NONCE),
        ("run_id", RUN_ID),
        ("attestation_api_version", API_VERSION),
        ("job", JOB_NAME),
        ("month", MONTH),
        ("image_digest", IMAGE_DIGEST),
        ("pod_ip", POD_IP),
    ):
        value = getattr(spec, name)
        if value is None and name not in REQUIRED_KEYS:
            continue
        if pattern.fullmatch(_text(name, value)) is None:
            refuse(name, value, f"text of the form {pattern.pattern}")
    _text("quote_provider", spec.quote_provider)
    for name in ("results_dir", "jobs_dir", "job_file", "work_dir", "java", "spark_home", "python"):
        value = getattr(spec, name)
        if value is not None or name in REQUIRED_KEYS:
            _check_path(name, Path(_text(name, value)))
    if spec.input is not None:
        parts = urlsplit_or_refuse("input", _text("input", spec.input))
        if not parts.scheme:
            refuse("input", spec.input, "a URI with its scheme, e.g. file:///data/puYear=2018/puMonth=5")
        _check_path("input", Path(unquote(parts.path)))


def _check_path(name: str, path: Path) -> None:
    if not path.is_absolute() or ".." in path.parts:
        refuse(name, str(path), "an absolute path without '..'")


def _check_blobs(spec: LaunchSpec) -> None:
    """Check the blobs of an input that the agent downloads, and the one that it uploads."""
    if spec.results_blob is not None:
        try:
            url = ResultsBlob(**_items("results_blob", spec.results_blob, dict)).url
        except (TypeError, ValueError) as error:
            raise _invalid("results_blob", str(error), "url and sas") from error
        _check_url("results_blob", url)
        _require_tls(spec, "results_blob", url)
    if spec.input_files is None:
        return
    _check_url("input", spec.input)
    _require_tls(spec, "input", str(spec.input))
    try:
        listed_blobs(_items("input_files", spec.input_files, list))
    except (TypeError, ValueError) as error:
        raise _invalid("input_files", str(error), "name, bytes, etag and sas of each blob") from error


def _require_tls(spec: LaunchSpec, key: str, url: str) -> None:
    if spec.in_occlum and not url.startswith("https:"):
        refuse(key, url, "https://…: on its own loopback a host would see what is sent")


def _check_url(key: str, url: object) -> None:
    parts = urlsplit_or_refuse(key, _text(key, url))
    plain_loopback = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    if not (parts.scheme == "https" or plain_loopback) or not parts.hostname:
        refuse(key, url, "https://…, or http:// on loopback")
    if parts.username or parts.query or parts.fragment:
        refuse(key, url, "an address without user, query or fragment")


def urlsplit_or_refuse(key: str, text: str) -> Any:
    """Return the parts of a URL.

    :raises AgentError: ``launch-invalid`` when it is none, its port included.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise _invalid(key, str(error), "a well-formed URL") from error
    return parts


def _check_settings(spec: LaunchSpec) -> None:
    if spec.jvm_options is not None:
        for option in _items("jvm_options", spec.jvm_options, list):
            if not allowed_jvm_option(_text("jvm_options", option)):
                refuse("jvm_options", option, "an option from agent/launch/allowed_settings.py")
    if spec.spark_conf is not None:
        for name, value in _items("spark_conf", spec.spark_conf, dict).items():
            _check_spark_setting(_text("spark_conf", name), _text("spark_conf", value))


def _check_cluster(spec: LaunchSpec) -> None:
    port = spec.release_port
    if port is not None and (type(port) is not int or not 1024 <= port <= 65535):
        refuse("release_port", port, "a port from 1024 to 65535")
    if spec.executor is not None:
        members = _items("executor", spec.executor, dict)
        if set(members) != set(EXECUTOR_FORMS):
            refuse("executor", sorted(members), f"exactly {sorted(EXECUTOR_FORMS)}")
        for name, form in EXECUTOR_FORMS.items():
            if form.fullmatch(_text(f"executor {name}", members[name])) is None:
                refuse(f"executor {name}", members[name], f"text of the form {form.pattern}")


def _check_spark_setting(name: str, value: str) -> None:
    form = spark_setting_form(name)
    if form is None:
        refuse("spark_conf", name, "a setting from agent/launch/allowed_settings.py")
    if form.fullmatch(value) is None:
        refuse(f"spark_conf {name}", value, f"text of the form {form.pattern}")


def _items(key: str, value: object, kind: type) -> Any:
    if type(value) is not kind:
        refuse(key, type(value).__name__, f"a JSON {'array' if kind is list else 'object'}")
    if len(value) > MAX_ITEMS:  # type: ignore[arg-type]
        refuse(key, f"{len(value)} items", f"at most {MAX_ITEMS}")  # type: ignore[arg-type]
    return value


def _text(key: str, value: object) -> str:
    """Return ``value`` if it is a short, printable, single-line string."""
    if type(value) is not str:
        refuse(key, type(value).__name__, "text")
    if not value or len(value) > MAX_TEXT or not value.isprintable():
        refuse(key, value, f"1 to {MAX_TEXT} printable characters")
    return value
