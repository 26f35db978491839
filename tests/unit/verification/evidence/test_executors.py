from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confidential_spark.agent.protocol import arguments_sha256, b64url, executor_role
from confidential_spark.simulation.hardware.keys import p256_key

from tests.support.factories.bundles import IDENTITY, JOB, Bundle, make_bundle
from tests.support.factories.changes import put


def job_members(job) -> dict[str, str]:
    return {"name": job.name, "file_sha256": job.file_sha256, "arguments_sha256": job.arguments_sha256}


def executor(
    executor_id: str = "1", *, job=None, changes: dict[str, Any] | None = None, **made: Any
) -> dict[str, Any]:
    """An executor's entry: the attestation of an enclave of its own."""
    members = {"job": job_members(job or executor_role(executor_id)), **(changes or {})}
    made = {"key": p256_key(f"executor {executor_id}")} | made
    attested = make_bundle(runtime=lambda runtime: runtime | members, **made)
    return {
        "id": executor_id,
        "quote": b64url(attested.quote),
        "token": attested.token,
        "runtime_data": b64url(attested.runtime_data),
    }


def distributed(*executors: Any) -> Bundle:
    return make_bundle(predicate=lambda predicate: predicate | {"executors": list(executors)})


def test_every_executor_is_verified_and_reported():
    report = distributed(executor("1"), executor("7")).verify()
    assert report.passed, report.text()
    assert report.facts.executors is not None
    assert [found.id for found in report.facts.executors] == ["1", "7"]
    assert {found.mrenclave for found in report.facts.executors} == {report.facts.mrenclave}
    assert "2 executors attested" in report.text()
    assert report.to_dict()["facts"]["executors"][1]["id"] == "7"


def test_a_run_in_one_process_lists_none():
    assert make_bundle().verify().facts.executors is None


NEWER = replace(IDENTITY, svn=IDENTITY.svn + 1)
OTHER = replace(IDENTITY, mrenclave=bytes(32))


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        pytest.param(lambda: executor(changes={"nonce": b64url(bytes(32))}), "nonce-mismatch", id="nonce"),
        pytest.param(lambda: executor(changes={"run_id": "nytaxi_aks/other"}), "run-id-mismatch", id="run"),
        pytest.param(lambda: executor(job=JOB), "job-mismatch", id="the-driver-again"),
        pytest.param(lambda: executor("2") | {"id": "1"}, "job-mismatch", id="another-id"),
        pytest.param(lambda: executor(identity=OTHER), "mrenclave-not-allowed", id="measurement"),
        pytest.param(lambda: executor(identity=NEWER), "executor-measurement", id="svn"),
        pytest.param(lambda: executor(token=lambda t: t[:-8] + "A" * 8), "signature-invalid", id="token"),
        pytest.param(lambda: executor(quote=lambda quote: quote[:-1]), "quote-length", id="quote"),
        pytest.param(
            lambda: executor() | {"quote": executor("3")["quote"]}, "quote-hash-mismatch", id="swapped"
        ),
        pytest.param(lambda: executor() | {"more": 1}, "statement-predicate", id="more"),
        pytest.param(lambda: {"id": "1"}, "statement-predicate", id="less"),
        pytest.param(lambda: "executor", "statement-predicate", id="text"),
        pytest.param(lambda: executor() | {"id": "one"}, "statement-predicate", id="no-number"),
        pytest.param(lambda: executor() | {"quote": "=="}, "statement-predicate", id="not-base64"),
    ],
)
def test_one_bad_executor_refuses_the_run(entry, code: str):
    report = distributed(executor("9"), entry()).verify()
    assert not report.passed
    assert report.trust is None
    assert report.code == code, report.text()


@pytest.mark.parametrize(
    "executors",
    [
        pytest.param([], id="empty"),
        pytest.param({}, id="object"),
        pytest.param(None, id="null"),
        pytest.param([{}] * 129, id="too-many"),
    ],
)
def test_a_list_that_is_none_is_refused(executors: Any):
    report = make_bundle(predicate=lambda predicate: predicate | {"executors": executors}).verify()
    assert report.code == "statement-predicate"


@pytest.mark.parametrize(
    ("second", "what"),
    [
        pytest.param(lambda: executor("2", claims=put("jti", "one")), "token", id="token-id"),
        pytest.param(lambda: executor("2", key=p256_key("executor 1")), "key", id="key"),
        pytest.param(lambda: executor("2", key=p256_key("tests' run key")), "key", id="the-drivers-key"),
        pytest.param(lambda: executor("1", key=p256_key("another")), "id", id="id"),
    ],
)
def test_no_two_enclaves_of_a_run_share_anything(second, what):
    report = distributed(executor("1", claims=put("jti", "one")), second()).verify()
    assert (report.code, report.failure.number) == ("executor-duplicate", 11), report.text()
    assert report.failure.detail == f"Two enclaves of the run have the same {what}."


def test_one_enclave_cannot_be_two():
    one = executor("1")
    assert distributed(one, one).verify().code == "executor-duplicate"


def test_one_quote_under_two_tokens_is_one_enclave():
    """Another token about the same quote, as the provider issues it when it is asked twice."""
    one = executor("1")
    twin = one | {"id": "1", "token": executor("1", claims=put("jti", "another"))["token"]}
    assert distributed(one, twin).verify().failure.detail == "Two enclaves of the run have the same quote."


def test_an_executors_id_may_equal_the_drivers_arguments():
    job = {**job_members(JOB), "arguments_sha256": arguments_sha256(["1"])}
    bundle = make_bundle(
        runtime=put("job", job),
        predicate=lambda p: (
            p | {"job": job | {"arguments": ["1"]}, "month": None, "executors": [executor("1")]}
        ),
    )
    assert bundle.verify(expected_job=None).passed


def test_a_used_token_of_an_executor_is_refused():
    bundle = distributed(executor("1"))
    facts = bundle.verify().facts.executors
    assert facts is not None
    assert bundle.verify(seen_token_ids={facts[0].token_id}).code == "token-replayed"
