"""The executors of a distributed run: enclaves of their own, listed in the driver's signed statement.

Each is judged like the driver, by steps 1 to 10 under the same policy, and has to be the same program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from confidential_spark.agent import protocol
from confidential_spark.core.errors import VerificationError
from confidential_spark.verification.context import Context
from confidential_spark.verification.json_object import JsonObject
from confidential_spark.verification.refusals import Refusal, refuse, require_equal
from confidential_spark.verification.report import ExecutorFacts
from confidential_spark.verification.steps import AttestationSteps

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class ExecutorRecord:
    """One executor's entry in the statement."""

    id: str
    quote: bytes
    token: str
    runtime_data: bytes


def read_executors(predicate: JsonObject) -> tuple[ExecutorRecord, ...] | None:
    """Return the statement's executors, or None: a run in one process.

    :raises VerificationError: ``statement-predicate``.
    """
    if "executors" not in predicate.members:
        return None
    items = predicate.array("executors", max_items=protocol.MAX_EXECUTORS)
    if not items:
        message = "The list of executors is empty."
        refuse(predicate.code, message, got="none", expected="one or more, or no list")
    return tuple(_record(JsonObject.of(item, "executor", predicate.code)) for item in items)


def _record(item: JsonObject) -> ExecutorRecord:
    item.only(("id", "quote", "token", "runtime_data"))
    return ExecutorRecord(
        id=item.text("id", "[0-9]{1,9}"),
        quote=item.base64url("quote", protocol.MAX_QUOTE_BYTES),
        token=item.text("token", max_length=protocol.MAX_TOKEN_BYTES),
        runtime_data=item.base64url("runtime_data", protocol.MAX_RUNTIME_DATA_BYTES),
    )


def verify_executors(
    records: Sequence[ExecutorRecord], driver: AttestationSteps
) -> tuple[ExecutorFacts, ...]:
    """Accept executors that attested themselves for the driver's nonce and run, as the driver's program.

    No two enclaves of a run may share what each has of its own.

    :param driver: the driver's steps, all passed.
    :raises VerificationError: with the code of the step that an executor fails, naming the executor;
        ``executor-measurement``, ``executor-duplicate``.
    """
    judged = [_verify(record, driver) for record in records]
    everyone = [driver.context.facts, *(steps.context.facts for steps in judged)]
    shared = {"token": "token_id", "quote": "quote_sha256", "key": "signing_key_thumbprint"}
    own = {what: [facts[name] for facts in everyone] for what, name in shared.items()}
    for what, values in (own | {"id": [record.id for record in records]}).items():
        if len(set(values)) != len(values):
            message = f"Two enclaves of the run have the same {what}."
            got, expected = f"{len(set(values))} different", f"{len(values)} different"
            refuse(Refusal.EXECUTOR_DUPLICATE, message, got=got, expected=expected)
    names = ("mrenclave", "quote_sha256", "token_id", "tcb_status")
    return tuple(
        ExecutorFacts(record.id, **{name: steps.context.facts[name] for name in names})
        for record, steps in zip(records, judged, strict=True)
    )


def _verify(record: ExecutorRecord, driver: AttestationSteps) -> AttestationSteps:
    expectations = replace(
        driver.context.expectations,
        nonce=driver.runtime.nonce,
        seen_nonces=(),
        run_id=driver.runtime.run_id,
        job=protocol.executor_role(record.id),
        job_file_sha256=None,
    )
    context = Context(driver.context.policy, driver.context.now, expectations, driver.context.ledger_source)
    steps = AttestationSteps(context, jwks=driver.trusted_jwks, collateral=driver.collateral_json)
    try:
        steps.decode_inputs(record.token, record.quote, record.runtime_data)
        for _, check in steps.checks():
            check()
        require_equal(Refusal.EXECUTOR_MEASUREMENT, str(steps.enclave), str(driver.enclave))
    except VerificationError as error:
        message = f"Executor {record.id}: {error.message}"
        got, expected, action = error.got, error.expected, error.action
        raise VerificationError(
            message, code=error.code, got=got, expected=expected, action=action
        ) from error
    return steps
