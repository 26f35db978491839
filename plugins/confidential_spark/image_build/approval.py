"""Approve and publish the enclave image: the tasks of DAG `enclave_image` in which people decide."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, AssetAlias, Param
from airflow.sdk.exceptions import AirflowSkipException

from confidential_spark.core.errors import PolicyError
from confidential_spark.image_build.operators import EngineImageOperator, ImageOperator
from confidential_spark.image_build.settings import ImageSettings, image_settings
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
# The field of the answer's form.
REBUILT = "rebuilt_mrenclave"
NOBODY_KNOWN = "nobody known"


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
        from confidential_spark.image_build.ledger import approval_of, read_approvals

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
        super().__init__(subject="Approve a new enclave image?", params={REBUILT: rebuilt_param()}, **kwargs)
        self.measured = measured
        self.comparison = comparison

    def execute(self, context: Context) -> Any:
        """Ask, with all that a person needs to decide."""
        self.log.info("%s %s", STARTED, self.task_id)
        if self.comparison["approved"]:
            raise AirflowSkipException(f"Approved already: {self.comparison['by']}")
        with airflow_failures(self.log, context["ti"]):
            image, requester = measured_image(self.measured), requester_of(context)
            if image_settings().second_person:
                require_known_requester(requester)
        self.subject = f"Approve enclave image {image.mrenclave[:12]}… ({image.trust})?"
        revision, policy = str(self.measured["revision"]), str(self.comparison["policy"])
        self.body = question(image, revision, policy, requester or NOBODY_KNOWN)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return who requested, who approved and when, and whether the approver has rebuilt the image."""
        with airflow_failures(self.log, context["ti"]):
            return self.decision(event, requester_of(context))

    def decision(self, event: Mapping[str, Any], requester: str | None) -> dict[str, Any]:
        """Read a person's answer.

        :param requester: who started the run.
        :raises PolicyError: ``approval-timed-out``, ``approval-failed``, ``approval-rejected``,
            ``approval-requester-unknown``, ``approval-by-requester``, ``approval-measurement-mismatch``.
        """
        if "error" in event:
            timed_out = event.get("error_type") == "timeout"
            raise _not_approved(
                "approval-timed-out" if timed_out else "approval-failed", str(event["error"])[:300]
            )
        user = event.get("responded_by_user")
        if event["chosen_options"] != [self.APPROVE] or not user:
            raise _not_approved("approval-rejected", f"{event['chosen_options']} by {person(user)}")
        if image_settings().second_person:
            require_second_person(requester, user)
        rebuilt = same_measurement((event.get("params_input") or {}).get(REBUILT), self.measured)
        at = event["responded_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        how = "approved and rebuilt" if rebuilt else "approved"
        self.log.info("%s %s: %s by %s", DONE, self.task_id, how, person(user))
        return {
            "approved_by": person(user),
            "approved_at": at,
            "requested_by": requester,
            "rebuilt": rebuilt,
        }


class RecordApprovalOperator(ImageOperator):
    """Append a person's approval to the ledger, once however often the task runs.

    :param measured: what `measure_enclave` returned.
    :param decision: what `approve_measurement` returned.
    """

    template_fields = ("measured", "decision")

    def __init__(self, *, measured: Mapping[str, Any], decision: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measured = measured
        self.decision = decision

    def run(self, context: Context) -> dict[str, Any]:
        """Return the ledger's length and head."""
        from confidential_spark.image_build.ledger import append_approval, approval_of, read_approvals

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


def require_acceptable(image: EnclaveImage, policy: Policy, ledger: Ledger) -> None:
    """Refuse an enclave that the policy would not accept even if somebody approved it.

    :raises VerificationError: ``debuggable``, ``…-denied``, ``…-not-allowed``, ``svn-too-low``.
    """
    from confidential_spark.verification.attestation.identity import require_identity
    from confidential_spark.verification.policy.ledger import Ledger

    supposed = new_approval(image, "0000000", approved_by="supposed", approved_at="1970-01-01T00:00:00Z")
    require_identity(image.identity, policy, lambda: Ledger((*ledger.approvals, supposed), ledger.head))


def new_approval(
    image: EnclaveImage,
    revision: str,
    *,
    approved_by: str,
    approved_at: str,
    requested_by: str | None = None,
    rebuilt: bool = False,
) -> Approval:
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
        requested_by=requested_by,
        rebuilt=rebuilt,
    )


def question(image: EnclaveImage, revision: str, policy: str, requester: str) -> str:
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
        "requested by": in_a_cell(requester),
    }
    table = "\n".join(f"| {name} | `{value}` |" for name, value in rows.items())
    return (
        f"| | |\n| --- | --- |\n{table}\n\n"
        "**Approve** when this revision was reviewed and is meant to process confidential data. "
        "**Reject** when in doubt: nothing is changed, and the image that was published before stays. "
        "The control room's page *Measurements* compares this image with the one in use."
    )


def in_a_cell(text: str) -> str:
    """Return a name as a cell of a Markdown table shows it between backticks."""
    return re.sub(r"[`|\\\s]+", " ", text)


def rebuilt_param() -> Param:
    """Return the field for the measurement of the approver's own build."""
    return Param(
        None,
        source="task",
        type=["null", "string"],
        pattern=r"^\s*[0-9a-fA-F]{64}\s*$",
        title="MRENCLAVE of your own build",
        description="Optional: what your own build of this revision has measured. Another value than the "
        "proposed one refuses the approval; the same one is recorded in the ledger.",
    )


def same_measurement(entered: object, measured: Mapping[str, Any]) -> bool:
    """Return whether an approver entered the proposed measurement; False when nothing was entered.

    :param measured: what `measure_enclave` returned.
    :raises PolicyError: ``approval-measurement-mismatch``.
    """
    given = str(entered or "").strip().lower()
    expected = measured_image(measured).mrenclave
    if given and given != expected:
        raise PolicyError(
            "The approver's own build has another measurement; nothing was recorded or published.",
            code="approval-measurement-mismatch",
            got=given[:80],
            expected=expected,
            action="find out which inputs differ between the two builds; treat it as an incident until then",
        )
    return bool(given)


def requester_of(context: Context) -> str | None:
    """Return who started the run: an account of Airflow, or of the machine for a command line."""
    return (getattr(context["dag_run"], "triggering_user_name", None) or "")[:256] or None


def is_requester(requester: str, user: Mapping[str, Any]) -> bool:
    """Return whether a user of Airflow is the one who started the run, by name or id, in any letter case."""
    return requester.casefold() in {str(user.get(part)).casefold() for part in ("id", "name")}


def require_second_person(requester: str | None, user: Mapping[str, Any]) -> None:
    """Refuse an approval by whoever started the run.

    :raises PolicyError: ``approval-requester-unknown``, ``approval-by-requester``.
    """
    if is_requester(require_known_requester(requester), user):
        raise PolicyError(
            "Whoever requested an image may not approve it here; nothing was recorded or published.",
            code="approval-by-requester",
            got=f"requested by {requester}, approved by {person(user)}",
            expected="two people",
            action="trigger DAG enclave_image again, and let another person answer",
        )


def require_known_requester(requester: str | None) -> str:
    """Return who started the run, if the deployment vouches that this is one person's account of Airflow.

    A task is told the name only, and a command line gives the name of its machine's account: `root` compares
    with nobody, so that the person behind it could approve the image alone.

    :raises PolicyError: ``approval-requester-unknown``.
    """
    if requester and is_named(requester):
        return requester
    raise PolicyError(
        "Nobody knows who requested this image, so nobody can be the second person.",
        code="approval-requester-unknown",
        got=f"a run by {requester!r}" if requester else "a run without a triggering user",
        expected=f"one of the accounts that {ImageSettings.variable('requesters')} names",
        action="trigger DAG enclave_image on Airflow's page or by its API, with one of those accounts; "
        "not on a command line, by a schedule or from another DAG",
    )


def is_named(requester: str) -> bool:
    """Return whether the deployment names this account as one person's, in any letter case."""
    return requester.casefold() in map(str.casefold, image_settings().requesters)


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
