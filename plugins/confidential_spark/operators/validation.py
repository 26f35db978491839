"""Believe nothing: verify the evidence, check the results, publish the month."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from confidential_spark.core.checks import run_checks
from confidential_spark.core.policy import load_policy
from confidential_spark.core.report import RunReport
from confidential_spark.core.verification import verify_evidence
from confidential_spark.hooks.result_store import ResultStore
from confidential_spark.operators.attestation_endpoints import attestation_endpoints
from confidential_spark.operators.base import ConfidentialOperator
from confidential_spark.operators.enclave_run import XCOM_KEY, EnclaveRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.operators.base import RunScope
