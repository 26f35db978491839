"""A person's approval of an enclave image, as DAG `enclave_image` writes it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from confidential_spark.image_build.ledger import append_approval
from confidential_spark.verification.policy.ledger import Approval

from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage

LEDGER = "policies/approvals-simulated.jsonl"
INCLUDE = ROOT / "include"


def approve(include: Path, image: EnclaveImage) -> None:
    """Add the approval of an image to the ledger in ``include``."""
    approval = Approval(
        approved_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        approved_by="the test",
        image_digest=image.digest,
        mrenclave=image.mrenclave,
        mrsigner=image.mrsigner,
        product_id=image.product_id,
        svn=image.svn,
        git_revision="0" * 40,
    )
    append_approval(include / LEDGER, approval)


def approved_include(target: Path, image: EnclaveImage) -> Path:
    """Return a copy of `include/` in which somebody has approved this image and no other."""
    shutil.copytree(INCLUDE, target)
    (target / LEDGER).unlink(missing_ok=True)
    approve(target, image)
    return target
