"""Approve and publish the enclave image: the tasks of DAG `enclave_image` in which people decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.core.errors import PolicyError
from confidential_spark.image_build.operators import EngineImageOperator, ImageOperator
from confidential_spark.operators.base import DONE, STARTED, airflow_failures
from confidential_spark.platforms.docker.settings import docker_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.verification import Policy
    from confidential_spark.verification.policy.ledger import Approval, Ledger

ALIAS = AssetAlias("enclave_image")
NOBODY = "nobody yet"


class CompareWithLedgerOperator(ImageOperator):
    """Ask the policy and its ledger whether the measured enclave may run, or could after an approval.

    :param measured: what `measure_enclave` returned.
    """

    template_fields = ("measured",)

    def __init__(self, *, measured: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measured = measured

    def run(self, context: Context) -> dict[str, Any]:
        """Return whether the image is approved, and by whom."""
        image, policy = measured_image(self.measured), self.policy()
        image.require_trust(policy)
        ledger = read_approvals(policy)
        require_acceptable(image, policy, ledger)
        known = approval_of(image, ledger)
        approved = known is not None or not policy.identities.needs_ledger
        by = f"{known.approved_by}, {known.approved_at}" if known else f"policy {policy.name}"
        self.announce(f"approved by {by}" if approved else "a new measurement: a person must approve it")
        return {
            "approved": approved,
            "by": by if approved else NOBODY,
            "policy": policy.label,
            "approvals": len(ledger.approvals),
        }


class ApproveMeasurementOperator(ApprovalOperator):
    """Ask a person to approve a new measurement; an approved one is skipped.

    A rejection and the end of the time fail the task for good: nothing was approved, nothing is published.

    :param measured: what `measure_enclave` returned.
    :param comparison: what `compare_with_ledger` returned.
    """

    template_fields = ("measured", "comparison")

    def __init__(
        self,
        *,
        measured: Mapping[str, Any],
        comparison: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(subject="Approve a new enclave image?", **kwargs)
        self.measured = measured
        self.comparison = comparison

    def execute(self, context: Context) -> Any:
        """Ask, with all that a person needs to decide."""
        self.log.info("%s %s", STARTED, self.task_id)
        if self.comparison["approved"]:
            raise AirflowSkipException(f"Approved already: {self.comparison['by']}")
        with airflow_failures(self.log, context["ti"]):
            image = measured_image(self.measured)
        self.subject = f"Approve enclave image {image.mrenclave[:12]}… ({image.trust})?"
        self.body = question(image, str(self.measured["revision"]), str(self.comparison["policy"]))
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Return who approved, and when."""
        with airflow_failures(self.log, context["ti"]):
            return self.decision(event)

    def decision(self, event: Mapping[str, Any]) -> dict[str, str]:
        """Read a person's answer.

        :raises PolicyError: ``approval-timed-out``, ``approval-failed``, ``approval-rejected``.
        """
        if "error" in event:
            timed_out = event.get("error_type") == "timeout"
            raise _not_approved(
                "approval-timed-out" if timed_out else "approval-failed", str(event["error"])[:300]
            )
        user = event.get("responded_by_user")
        if event["chosen_options"] != [self.APPROVE] or not user:
            raise _not_approved("approval-rejected", f"{event['chosen_options']} by {person(user)}")
        at = event["responded_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.log.info("%s %s: approved by %s", DONE, self.task_id, person(user))
        return {"approved_by": person(user), "approved_at": at}


class RecordApprovalOperator(ImageOperator):
    """Append a person's approval to the ledger, once however often the task runs.

    :param measured: what `measure_enclave` returned.
    :param decision: what `approve_measurement` returned.
    """

    template_fields = ("measured", "decision")

    def __init__(self, *, measured: Mapping[str, Any], decision: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measured = measured
        self.decision = decision

    def run(self, context: Context) -> dict[str, Any]:
        """Return the ledger's length and head."""
        from confidential_spark.image_build.ledger import append_approval

        image, policy = measured_image(self.measured), self.policy()
        ledger = read_approvals(policy)
        if approval_of(image, ledger):
            self.announce("the ledger has this approval")
        else:
            approval = new_approval(image, str(self.measured["revision"]), **self.decision)
            ledger = append_approval(policy.approvals_path, approval)
            self.announce(f"entry {len(ledger.approvals)} of {policy.approvals_path.name}")
        return {"approvals": len(ledger.approvals), "head": ledger.head}


class PublishImageOperator(EngineImageOperator):
    """Push the image if a registry is set, and announce it by an asset event; never one that nobody approved.

    :param measured: what `measure_enclave` returned.
    """

    template_fields = ("measured",)

    def __init__(self, *, measured: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(outlets=[ALIAS], **kwargs)
        self.measured = measured

    def run(self, context: Context) -> dict[str, Any]:
        """Return the image as the asset event describes it."""
        from confidential_spark.enclave.image import asset_name, asset_uri
        from confidential_spark.operators.image import require_approved

        image, policy = measured_image(self.measured), self.policy()
        image.require_trust(policy)
        # Again: somebody may have marked the tasks before this one as successful by hand.
        require_approved(image.identity, policy, "run DAG enclave_image again, and approve the measurement")
        published = self.pushed(image, context)
        asset = Asset(name=asset_name(image.trust), uri=asset_uri(image.trust))
        context["outlet_events"][ALIAS].add(asset, extra=published.to_xcom())
        self.announce(f"{published.reference} · {published.trust}")
        return published.to_xcom()

    def pushed(self, image: EnclaveImage, context: Context) -> EnclaveImage:
        """Return the image under its name in the registry, or as it is when there is none."""
        from confidential_spark.platforms.docker.engine import RegistryLogin

        repository = self.sources.push_repository
        if repository is None:
            return image
        store, tag = self.store(context), f"{image.trust}-{image.mrenclave[:12]}"
        login = RegistryLogin.of_connection(docker_settings().registry_conn_id)
        with self.build_log.group(f"Pushing to {repository}"):
            reference = store.push(image.reference, repository, tag, login)
        return replace(image, reference=reference, digest=reference.rpartition("@")[2])


def measured_image(measured: Mapping[str, Any]) -> EnclaveImage:
    """Read the image that `measure_enclave` returned."""
    from confidential_spark.enclave.image import EnclaveImage

    return EnclaveImage.from_xcom(measured["image"])


def read_approvals(policy: Policy) -> Ledger:
    """Return the policy's ledger; before the first approval there is none.

    :raises VerificationError: ``ledger-…`` for one that is broken.
    """
    from confidential_spark.verification.policy.ledger import NO_ENTRY, Ledger, read_ledger

    if policy.identities.needs_ledger and policy.approvals_path.exists():
        return read_ledger(policy.approvals_path)
    return Ledger((), NO_ENTRY)


def require_acceptable(image: EnclaveImage, policy: Policy, ledger: Ledger) -> None:
    """Refuse an enclave that the policy would not accept even if somebody approved it.

    :raises VerificationError: ``debuggable``, ``…-denied``, ``…-not-allowed``, ``svn-too-low``.
    """
    from confidential_spark.verification.attestation.identity import require_identity
    from confidential_spark.verification.policy.ledger import Ledger

    supposed = new_approval(image, "0000000", approved_by="supposed", approved_at="1970-01-01T00:00:00Z")
    require_identity(image.identity, policy, lambda: Ledger((*ledger.approvals, supposed), ledger.head))


def approval_of(image: EnclaveImage, ledger: Ledger) -> Approval | None:
    """Return the latest approval of exactly this identity, if there is one."""
    identity = (image.mrenclave, image.mrsigner, image.product_id, image.svn)
    return next(
        (a for a in reversed(ledger.approvals) if (a.mrenclave, a.mrsigner, a.product_id, a.svn) == identity),
        None,
    )


def new_approval(image: EnclaveImage, revision: str, *, approved_by: str, approved_at: str) -> Approval:
    """Return the ledger's entry for an approved image."""
    from confidential_spark.verification.policy.ledger import Approval

    return Approval(
        approved_at=approved_at,
        approved_by=approved_by,
        image_digest=image.digest,
        mrenclave=image.mrenclave,
        mrsigner=image.mrsigner,
        product_id=image.product_id,
        svn=image.svn,
        git_revision=revision,
    )


def question(image: EnclaveImage, revision: str, policy: str) -> str:
    """Return what a person reads before deciding, in Markdown."""
    rows = {
        "trust": image.trust,
        "MRENCLAVE": image.mrenclave,
        "MRSIGNER": image.mrsigner,
        "product id": image.product_id,
        "security version": image.svn,
        "image": image.reference,
        "built from revision": revision,
        "inputs": image.inputs_sha256,
        "policy": policy,
    }
    table = "\n".join(f"| {name} | `{value}` |" for name, value in rows.items())
    return (
        f"| | |\n| --- | --- |\n{table}\n\n"
        "**Approve** when this revision was reviewed and is meant to process confidential data. "
        "**Reject** when in doubt: nothing is changed, and the image that was published before stays."
    )


def person(user: Mapping[str, Any] | None) -> str:
    """Return a user as the ledger names one: the name, and the id where it is another."""
    if not user:
        return "nobody"
    name, user_id = str(user.get("name") or ""), str(user.get("id") or "")
    return f"{name} ({user_id})"[:256] if name and name != user_id else (user_id or "nobody")[:256]


def _not_approved(code: str, got: str) -> PolicyError:
    return PolicyError(
        "The measurement was not approved; nothing was recorded or published.",
        code=code,
        got=got,
        expected="Approve",
        action="trigger DAG enclave_image again to be asked again; unchanged inputs take seconds",
    )
