"""The four stages of a run and their tasks, by the ids that DAGs, runbooks and pages share."""

from __future__ import annotations

STAGES: dict[str, tuple[str, ...]] = {
    "image": ("image.resolve_image",),
    "attestation": ("attestation.mint_nonce", "attestation.attest_platform"),
    "spark": ("spark.resolve_input", "spark.run_spark"),
    "validation": (
        "validation.verify_evidence",
        "validation.check_results",
        "validation.publish",
        "validation.clean_staging",
    ),
}
TASK_IDS = tuple(task_id for tasks in STAGES.values() for task_id in tasks)

# XCom of `run_spark`: the try that verification judges, pushed before it is launched.
ENCLAVE_RUN_KEY = "enclave_run"
# Under these XCom keys a task says what it found before it fails.
VERIFICATION_KEY = "verification"
FAILED_CHECKS_KEY = "failed_checks"
FAILURE_KEY = "failure"
