from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confidential_spark.core.stages import STAGES, TASK_IDS
from confidential_spark.ui.views.run_view import Task, failed_task, stage_state, stages, verdict

GREEN = dict.fromkeys(TASK_IDS, "success")
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("run_state", "changes", "word", "tone"),
    [
        pytest.param("success", {}, "PASSED", "idle", id="green"),
        pytest.param("queued", {}, "QUEUED", "queued", id="queued"),
        pytest.param("restarting", {}, "RUNNING", "busy", id="restarting"),
        pytest.param("running", {"spark.run_spark": "failed"}, "RUNNING", "busy", id="running-with-a-retry"),
        pytest.param(
            "failed", {"validation.verify_evidence": "failed"}, "REFUSED", "bad", id="evidence-refused"
        ),
        pytest.param(
            "failed", {"validation.check_results": "failed"}, "REFUSED", "bad", id="results-refused"
        ),
        pytest.param("failed", {"spark.run_spark": "failed"}, "FAILED", "bad", id="spark-failed"),
        pytest.param("failed", {}, "NOT PROVEN", "bad", id="failed-without-a-failed-task"),
        pytest.param(
            "success",
            {"validation.verify_evidence": "skipped"},
            "NOT PROVEN",
            "bad",
            id="verification-skipped",
        ),
        pytest.param(
            "success", {"validation.check_results": "skipped"}, "NOT PROVEN", "bad", id="checks-skipped"
        ),
        pytest.param("None", {}, "NOT PROVEN", "bad", id="unknown-state"),
    ],
)
def test_verdict(run_state, changes, word, tone):
    found = verdict(run_state, {**GREEN, **changes})
    assert (found.word, found.tone) == (word, tone)


def test_a_run_that_failed_after_publishing_does_not_say_that_nothing_was_published():
    late = verdict("failed", {**GREEN, "validation.clean_staging": "failed"})
    early = verdict("failed", {"spark.run_spark": "failed"})

    assert late.sentence == "validation.clean_staging failed. The result had been published before."
    assert early.sentence == "spark.run_spark failed. Nothing was published."


def test_the_failed_task_is_the_first_in_the_order_of_the_stages():
    states = {"validation.clean_staging": "failed", "spark.run_spark": "failed", "elsewhere": "failed"}

    assert failed_task(states) == "spark.run_spark"
    assert failed_task(GREEN) == ""


@pytest.mark.parametrize("state", ["waiting", "queued", "scheduled"])
def test_a_run_of_which_no_task_has_started_is_queued(state):
    assert verdict("running", dict.fromkeys(TASK_IDS, state)).word == "QUEUED"
    assert verdict("running", {**dict.fromkeys(TASK_IDS, state), TASK_IDS[0]: "running"}).word == "RUNNING"


def test_nothing_passes_without_tasks():
    assert verdict("success", {}).tone == "bad"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["success", "success"], "success"),
        (["success", "skipped"], "success"),
        (["skipped"], "skipped"),
        (["success", "waiting"], "running"),
        (["waiting", "waiting"], "waiting"),
        (["running", "waiting"], "running"),
        (["up_for_retry"], "running"),
        (["deferred", "queued"], "running"),
        (["success", "queued"], "queued"),
        (["scheduled", "waiting"], "queued"),
        (["failed", "upstream_failed"], "failed"),
        (["upstream_failed", "success"], "not reached"),
        ([], "waiting"),
    ],
)
def test_stage_state(states, expected):
    assert stage_state([Task(str(i), state) for i, state in enumerate(states)]) == expected


def test_stages_are_in_order_and_leave_out_what_a_job_does_not_have():
    found = stages([Task(i, "success") for i in reversed(TASK_IDS) if i != "spark.resolve_input"])

    assert [stage.name for stage in found] == list(STAGES)
    assert [task.name for task in found[2].tasks] == ["run_spark"]


def test_a_stage_lasts_from_its_first_start_to_its_last_end():
    tasks = [
        Task("attestation.mint_nonce", "success", START, START + timedelta(seconds=1)),
        Task(
            "attestation.attest_platform",
            "success",
            START + timedelta(seconds=3),
            START + timedelta(seconds=5),
        ),
    ]
    assert stages(tasks)[1].elapsed == timedelta(seconds=5)
    assert stages([])[1].elapsed is None


def test_what_was_not_reached_took_no_time():
    skipped_over = Task("validation.publish", "upstream_failed", START, START)
    cleaned = Task("validation.clean_staging", "success", START, START + timedelta(seconds=2))
    validation = stages([skipped_over, cleaned])[3]

    assert (validation.state, validation.elapsed) == ("not reached", None)
    assert [task.elapsed for task in validation.tasks] == [None, timedelta(seconds=2)]
