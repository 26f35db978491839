"""`attest` and `run`: what the enclave does, in the order it does it.

The private key lives in this process only: it is made after the launch file was read, signs once, is gone.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from confidential_spark.agent.attestation.attest import attest_key
from confidential_spark.agent.attestation.measurement import simulated_measurement
from confidential_spark.agent.data import blobs, files
from confidential_spark.agent.data.results_blob import ResultsBlob
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.executors.driver import executor_enclaves
from confidential_spark.agent.job.steps import run_job
from confidential_spark.agent.launch.launch_file import job_launch, refuse
from confidential_spark.agent.launch.private_storage import private_storage, require_own_files
from confidential_spark.agent.progress import progress_line, say
from confidential_spark.agent.protocol import (
    ATTEST_JOB,
    MAX_STATEMENT_BYTES,
    SIMULATED_NOTICE,
    TRUST_SIMULATED,
    JobIdentity,
    arguments_sha256,
    sha256_hex,
    sign_envelope,
    statement,
)

if TYPE_CHECKING:
    from confidential_spark.agent.attestation.attest import Attestation
    from confidential_spark.agent.launch.launch_file import JobLaunch, LaunchSpec
    from confidential_spark.agent.launch.private_storage import PrivateStorage

ATTESTATION = "attestation.json"


def attest(spec: LaunchSpec) -> None:
    """Prove that this enclave is here now, and write ``attestation.json``.

    :raises AgentError: nothing was written.
    """
    nothing = JobIdentity(ATTEST_JOB, sha256_hex(b""), arguments_sha256([]))
    results_dir = _results_dir(spec)
    attestation = attest_key(spec, ec.generate_private_key(ec.SECP256R1()), nothing)
    files.write_json(results_dir / ATTESTATION, attestation.record())
    if blob := _results_blob(spec):
        blob.upload(results_dir)


def run(spec: LaunchSpec) -> None:
    """Attest, run the job, sign a statement over its results, and write ``envelope.json``, last of all.

    :raises AgentError: no envelope was written.
    """
    launch = job_launch(spec)
    require_own_files(spec, launch)
    started_at = _now()
    results_dir = _results_dir(spec)
    _require_empty(results_dir)
    key = ec.generate_private_key(ec.SECP256R1())
    job = _job_identity(launch)
    attestation = attest_key(spec, key, job)
    work_dir = Path(launch.work_dir)
    with (
        private_storage(work_dir) as private,
        # Before anybody can ask: executors get its list with the secret.
        nullcontext(_take_input(spec, private)) as inputs,
        executor_enclaves(spec, key, attestation, work_dir, inputs) as executors,
    ):
        run_job(launch, private, _location(spec, private), executors, in_occlum=spec.in_occlum)
        _require_unchanged(spec, launch, job, inputs)
        say(progress_line("sign", 0, 1, "signing the results"))
        predicate = _predicate(spec, launch, job, attestation) | {
            "inputs": files.as_records(inputs),
            "rows": files.summary_rows(private.results, job.name),
            "started_at": started_at,
            "finished_at": _now(),
            **({"executors": executors.records()} if executors else {}),
        }
        results = files.result_digests(private.results)
        envelope = sign_envelope(_readable(statement(results, predicate)), key)
        if blob := _results_blob(spec):
            say(progress_line("sign", 0, 1, "uploading the results"))
            files.write_json(private.results / files.ENVELOPE, envelope)
            blob.upload(private.results)
        else:
            files.copy_results(private.results, results, results_dir)
    if blob is None:
        files.write_json(results_dir / files.ENVELOPE, envelope)
    say(progress_line("sign", 1, 1, "results signed"))


def measure(jobs_dir: Path) -> None:
    """Print the simulated enclave's measurement as JSON.

    :raises AgentError: ``jobs-missing``.
    """
    measurement = simulated_measurement(jobs_dir)
    say(json.dumps(vars(measurement) | {"notice": SIMULATED_NOTICE}, ensure_ascii=False))


def _predicate(
    spec: LaunchSpec, launch: JobLaunch, job: JobIdentity, attestation: Attestation
) -> dict[str, object]:
    """Return what is known before the job starts."""
    return {
        **attestation.record(),
        "v": 1,
        "trust": attestation.trust,
        "notice": SIMULATED_NOTICE if attestation.trust == TRUST_SIMULATED else None,
        "run_id": spec.run_id,
        "nonce": spec.nonce,
        "job": {
            "name": job.name,
            "file_sha256": job.file_sha256,
            "arguments": launch.arguments,
            "arguments_sha256": job.arguments_sha256,
        },
        "month": spec.month,
        "image_digest": launch.image_digest,
    }


def _readable(payload: bytes) -> bytes:
    """Refuse to sign what no verifier would read."""
    if len(payload) > MAX_STATEMENT_BYTES:
        raise files.incomplete(
            "statement-too-large",
            "The statement is too large to be verified.",
            f"{len(payload)} bytes",
            f"at most {MAX_STATEMENT_BYTES}: fewer results, inputs or executors",
        )
    return payload


def _take_input(spec: LaunchSpec, private: PrivateStorage) -> list[files.InputFile]:
    """Hash the input; where a host could serve Spark other bytes than us, also copy it.

    Blobs are downloaded: the host sees none of their bytes.
    """
    if not spec.input:
        if spec.month:
            refuse("input", "none", f"where the records of month {spec.month} are")
        return []
    if spec.input_files is not None:
        source = blobs.BlobSource.of(spec.input, spec.input_files)
        say(f"Downloading {len(source.blobs)} blobs, {sum(blob.bytes for blob in source.blobs):,} bytes")
        return source.download(private.input)
    return files.input_files(spec.input, copy_to=private.input if _reads_copy(spec) else None)


def _require_unchanged(
    spec: LaunchSpec, launch: JobLaunch, job: JobIdentity, inputs: list[files.InputFile]
) -> None:
    """Refuse a run whose job file changed, or its input where Spark did not read a copy."""
    if spec.input and not _reads_copy(spec):
        files.require_unchanged(inputs, files.input_files(spec.input))
    if _job_identity(launch) != job:
        raise files.incomplete(
            "job-changed", "The job file changed during the run.", launch.job_file, "no change"
        )


def _job_identity(launch: JobLaunch) -> JobIdentity:
    """Hash the job inside the enclave: the host's word for it would be worth nothing."""
    return JobIdentity(
        name=launch.job,
        file_sha256=files.sha256_of(Path(launch.job_file)),
        arguments_sha256=arguments_sha256(launch.arguments),
    )


def _reads_copy(spec: LaunchSpec) -> bool:
    """Whether Spark reads a private copy of the input; executors make their own (`input_list.py`)."""
    return spec.in_occlum or spec.distributed or spec.input_files is not None


def _location(spec: LaunchSpec, private: PrivateStorage) -> str | None:
    """Return where Spark finds the input."""
    return private.input.as_uri() if spec.input and _reads_copy(spec) else spec.input


def _results_blob(spec: LaunchSpec) -> ResultsBlob | None:
    return ResultsBlob(**spec.results_blob) if spec.results_blob else None


def _results_dir(spec: LaunchSpec) -> Path:
    path = Path(spec.results_dir)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError(
            "The results folder cannot be made.",
            code="results-dir-unusable",
            got=error.strerror,
            expected=spec.results_dir,
            action="correct results_dir or its permissions",
        ) from error
    return path


def _require_empty(results_dir: Path) -> None:
    """Refuse leftovers, which would be signed as if this run had made them."""
    if leftovers := sorted(path.name for path in results_dir.iterdir()):
        refuse("results_dir", f"a folder with {leftovers[:5]}", "an empty folder")


def _now() -> str:
    """Return the time in UTC, whole seconds rounded down, so that the token's `iat` is never before it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
