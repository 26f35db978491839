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

# In the `conf` of a run that fills a gap: which filling it belongs to. It is no Param: it changes no result.
FILL_KEY = "fill"
FILL_PREFIX = "gaps"


def fill_run_id(fill: str, month: str) -> str:
    """Return the id of the run that fills one gap, e.g. ``gaps__20261129T101500Z__2013-11``."""
    return f"{FILL_PREFIX}__{fill}__{month}"
