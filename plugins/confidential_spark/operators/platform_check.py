"""Can this platform run enclaves now? One table in the log, in XCom and in the results folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

from confidential_spark.agent.protocol import TRUST_HARDWARE
from confidential_spark.core.check_rows import CheckRow, PlatformReport
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.hooks.attestation import AttestationHook
from confidential_spark.hooks.results.location import results_at
from confidential_spark.operators.base import DONE, STARTED, airflow_failures
from confidential_spark.operators.image import require_approved
from confidential_spark.settings import Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow.sdk import Context

    from confidential_spark.core.platforms import Platform
    from confidential_spark.hooks.results.store import Results
    from confidential_spark.operators.resumable import Leftover
    from confidential_spark.verification import Policy
    from confidential_spark.verification.attestation.identity import EnclaveClaims

REPORT_KEY = "platform_check"
REPORT_FOLDER = "platform_check"
DISK_BYTES = 10 * 1024**3
"""Room for an image, the next one and the scratch space of a few runs."""


class PlatformCheckOperator(BaseOperator):
    """Look at one platform and fail when a run there would fail; subclasses write :meth:`rows`.

    A platform that is not here at all is skipped, which is neither passed nor failed.

    :param platform: the platform.
    """

    def __init__(self, *, platform: Platform, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform = platform

    def execute(self, context: Context) -> str:
        """Make the table, keep it, and return the verdict."""
        self.log.info("%s %s", STARTED, self.task_id)
        with airflow_failures(self.log, context["ti"]):
            report = self.report(context)
            self.log.info("The table\n%s", report.table())
            context["ti"].xcom_push(key=REPORT_KEY, value=report.to_dict())
            write_report(results_at(self.settings.results_dir), report)
            if report.is_absent:
                raise AirflowSkipException(report.verdict)
            report.require_ready()
        self.log.info("%s %s: %s", DONE, self.task_id, report.verdict)
        return report.verdict

    def report(self, context: Context) -> PlatformReport:
        """Return everything that was found; nothing that a check meets ends the others."""
        # Imported late: DAG files import this module, and need no cryptography to be parsed.
        from confidential_spark.verification import load_policy

        path = self.settings.policy_path(self.platform)
        rows: list[CheckRow] = []
        trust = self.platform.trust
        try:
            policy = load_policy(path)
        except ConfidentialSparkError as error:
            rows.append(CheckRow.refused("policy", error, "a policy that can be read"))
        else:
            trust = policy.trust
            rows.extend(self.rows(context, policy))
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return PlatformReport(self.platform, trust, now, tuple(rows))

    def rows(self, context: Context, policy: Policy) -> Iterable[CheckRow]:
        """Look at the platform."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """The deployment's settings, read at run time, never at parse time."""
        return get_settings()


def approval_row(identity: EnclaveClaims, policy: Policy, action: str) -> CheckRow:
    """Say whether the policy allows the enclave that runs would use.

    :raises PolicyError: why not.
    """
    require_approved(identity, policy, action)
    return CheckRow.judge(
        "measurement",
        f"MRENCLAVE {identity.mrenclave[:16]}… is allowed by {policy.label}",
        "an enclave that the policy allows",
        passed=True,
        action=action,
    )


def attestation_row(settings: Settings, policy: Policy) -> CheckRow:
    """Ask the attestation provider for its keys; a simulated image brings its own."""
    if policy.trust != TRUST_HARDWARE:
        return CheckRow.absent(
            "attestation",
            "the simulated image's own service",
            f"{policy.attestation.issuer} and its keys",
            "nothing; hardware enclaves ask Azure Attestation",
        )
    try:
        answers, said = AttestationHook(settings.attestation_conn_id).test_connection()
    except AirflowNotFoundException as error:
        answers, said = False, str(error)
    return CheckRow.judge(
        "attestation",
        said,
        f"{policy.attestation.issuer} and its keys",
        passed=answers,
        action=f"correct the Airflow connection {settings.attestation_conn_id}, or the way to the provider",
    )


def leftovers_row(remove: Callable[[], Iterable[Leftover]]) -> CheckRow:
    """Remove what runs that are over have left, and say so."""
    expected = "nothing of runs that are over"
    try:
        removed = [str(each) for each in remove()]
    except Exception as error:
        got = f"not known: {error}"
        return CheckRow.advise("leftovers", got, expected, passed=False, action="the next check tries again")
    got = f"removed {len(removed)}: {'; '.join(removed)}" if removed else "nothing"
    return CheckRow.judge("leftovers", got, expected, passed=True, action="")


def write_report(results: Results, report: PlatformReport) -> None:
    """Replace the platform's latest report, for people (.txt) and programs (.json).

    :raises ResultError: what the storage refuses.
    """
    document = json.dumps(report.to_dict(), indent=1, ensure_ascii=False)
    texts = {"json": document, "txt": report.table()}
    results.write_documents(
        REPORT_FOLDER, {f"{report.platform}.{ending}": f"{text}\n" for ending, text in texts.items()}
    )
