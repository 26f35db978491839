"""Filling gaps under a real scheduler, from the page's own forms: in order, stopped by a failure, resumed."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import LiveAirflow, end_all, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(1500)]
DAG = "nytaxi_local"
PLACE = f"/confidential-spark/gaps/{DAG}"
FIRST, SECOND, THIRD = "2015-01", "2015-02", "2015-03"


class KeepRedirects(urllib.request.HTTPRedirectHandler):
    """Tells where an answer leads, and does not go there."""

    def redirect_request(self, *_: object) -> None:
        return None


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[LiveAirflow]:
    # The month is missing where an input of real months is looked for, so its run fails.
    live = LiveAirflow(tmp_path_factory.mktemp("live"))
    inputs = live.folder / "trips"
    inputs.mkdir()
    live.variables["CONFIDENTIAL_SPARK_INPUT_URI"] = f"file://{inputs}"
    try:
        live.ensure_running()
        yield live
    finally:
        end_all(live.folder)


def send(live: LiveAirflow, path: str, fields: list[tuple[str, str]], **headers: str) -> tuple[int, str, str]:
    """Send a form as a browser does; return status, where it leads, and what it says."""
    origin = f"http://127.0.0.1:{live.port}"
    named = {"Origin": origin, "Cookie": f"_token={live.token}", **headers}
    body = urllib.parse.urlencode(fields).encode() if fields is not None else None
    request = urllib.request.Request(f"{origin}{path}", data=body, headers=named)  # noqa: S310 - our loopback
    try:
        with urllib.request.build_opener(KeepRedirects).open(request, timeout=120) as reply:
            return reply.status, "", reply.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers.get("Location", ""), answer.read().decode()


def page(live: LiveAirflow, path: str) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{live.port}{path}", headers={"Cookie": f"_token={live.token}"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310 - our loopback
        return str(reply.read().decode())


def states(live: LiveAirflow, fill: str) -> dict[str, str]:
    found = live.rows("select run_id, state from dag_run where run_id like ?", f"gaps__{fill}__%")
    return {run_id.rpartition("__")[2]: state for run_id, state in found}


def test_a_failure_stops_what_has_not_begun_and_the_rest_can_be_filled_later(live):
    live.pause(DAG)
    months = [("month", month) for month in (THIRD, SECOND, FIRST)]
    status, place, said = send(live, PLACE, [*months, ("order", "oldest"), ("stop", "on")])
    assert status == 303, said
    fill = place.rpartition("/")[2]
    assert states(live, fill) == dict.fromkeys((FIRST, SECOND, THIRD), "queued")
    assert "is paused" in page(live, f"{PLACE}/{fill}")

    # One at a time, so that the second begins after the first has failed.
    pool = {"pool": "enclave_local", "slots": 1, "description": "", "include_deferred": False}
    answer = live.patch("pools/enclave_local", pool)
    assert answer.status == 200, answer
    live.unpause(DAG)
    ended = {FIRST: "failed"}
    wait_until(lambda: states(live, fill).get(FIRST) == "failed", "the first month has failed")
    wait_until(lambda: not {"queued", "running"} & set(states(live, fill).values()), "all have ended")
    found = states(live, fill)
    assert found.items() >= ended.items()

    shown = page(live, f"{PLACE}/{fill}")
    assert "3 of 3 runs are over" in shown
    assert "Resume: fill what remains (3)" in shown
    preview = page(live, f"{PLACE}?first={FIRST}&last={THIRD}&order=oldest")
    assert re.findall(r'name="month" value="([0-9-]+)" checked', preview) == [FIRST, SECOND, THIRD]


def test_the_gate_skips_a_run_after_a_failure(live):
    """By hand and in order, so that nothing depends on how many runs the scheduler starts at once."""
    live.unpause(DAG)
    fill = "20200101T000000Z"
    names = [FIRST, SECOND]
    for month in names:
        conf = {"month": month, "fill": {"id": fill, "stop": True, "months": names}}
        body = {"dag_run_id": f"gaps__{fill}__{month}", "logical_date": None, "conf": conf}
        assert live.post(f"dags/{DAG}/dagRuns", body).status == 200
        live.wait_for_end(DAG, f"gaps__{fill}__{month}")
    tasks = live.tasks(DAG, f"gaps__{fill}__{SECOND}")
    assert states(live, fill) == {FIRST: "failed", SECOND: "success"}
    assert tasks["image.resolve_image"]["state"] == "skipped"
    assert tasks["validation.publish"]["state"] == "skipped"
    assert "1 not started" in page(live, f"{PLACE}/{fill}")


def test_what_has_not_begun_is_cancelled(live):
    live.pause(DAG)
    status, place, said = send(live, PLACE, [("month", "2014-05"), ("month", "2014-06"), ("stop", "on")])
    assert status == 303, said
    fill = place.rpartition("/")[2]
    status, place, said = send(live, f"{PLACE}/{fill}/cancel", [("x", "")])
    assert status == 303, said
    assert states(live, fill) == {}
    deleted = live.rows("select count(*) from log where event = 'delete_dag_run'")
    assert deleted == [(2,)]


def test_another_sites_form_starts_nothing(live):
    status, _, said = send(live, PLACE, [("month", "2013-05")], Origin="https://evil.example")
    assert status == 403
    assert "nothing was done" in said
