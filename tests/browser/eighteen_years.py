"""A control room of eighteen years, with months of every state, and its pages."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from confidential_spark.core.stages import TASK_IDS

from tests.browser.test_pages import GREEN, PREFIX
from tests.unit.ui.conftest import DAG_ID, SUMMARY, with_checks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ELSEWHERE = {("spark.run_spark", "enclave_run"): {}}
ROOM = f"{PREFIX}/room?dag_id={DAG_ID}"
GAPS = f"{PREFIX}/gaps/{DAG_ID}"
FILL = "20261129T101500Z"
MAY, JUNE = f"{DAG_ID}/month=2018-05", f"{DAG_ID}/month=2018-06"
PAGES = {
    "room": ROOM,
    "room-rows": f"{ROOM}&shade=rows",
    "trends": f"{PREFIX}/trends/{DAG_ID}",
    "compare": f"{PREFIX}/compare?left={MAY}&right={JUNE}",
    "month": f"{PREFIX}/results/{MAY}",
    "gaps": f"{GAPS}?first=2011-01&last=2018-12",
    "filling": f"{GAPS}/{FILL}",
    "audit": f"{PREFIX}/audit/{DAG_ID}?first=2017-06&last=2018-12",
    "refused": f"{PREFIX}/results/{DAG_ID}/month=2012-05",
    "list": f"{PREFIX}/",
    "runbook": f"{PREFIX}/runbooks/commands",
}


def write_eighteen_years(results: Path, publish: Callable[..., Path], dag_run: Callable[..., None]) -> None:
    """Publish the months and write their runs; those of 2009 to 2017 are copies of another: refused."""
    genuine = publish(key="month=2018-01", report=with_checks())
    months = [f"{year}-{number:02d}" for year in range(2009, 2018) for number in range(1, 13)]
    for month in months[:30] + months[33:70] + months[71:]:
        folder = results / DAG_ID / ".versions" / f"month={month}" / "try-1"
        folder.parent.mkdir(parents=True)
        shutil.copytree(genuine, folder)
        (results / DAG_ID / f"month={month}").symlink_to(f".versions/month={month}/try-1")
    for number in range(2, 9):
        rows = {"accepted": number * 800_000}
        checks = with_checks("warn") if number == 3 else with_checks()
        publish(key=f"month=2018-{number:02d}", summary={**SUMMARY, "rows": rows}, report=checks)
    dag_run("success", GREEN)
    failed = {**dict.fromkeys(TASK_IDS, "upstream_failed"), "spark.run_spark": "failed"}
    start = datetime.now(UTC) - timedelta(seconds=75)
    for state, month, tasks in (
        ("failed", "2018-09", failed),
        ("running", "2018-10", {**dict.fromkeys(TASK_IDS[:4], "success"), "spark.run_spark": "running"}),
        ("queued", "2018-11", {}),
    ):
        dag_run(
            state, tasks, run_id=f"manual__{month}", conf={"month": month}, start_date=start, xcoms=ELSEWHERE
        )
    for number, (state, tasks) in enumerate((("success", GREEN), ("failed", failed), ("queued", {})), 7):
        names = ["2011-07", "2011-08", "2011-09"]
        conf = {"month": names[number - 7], "fill": {"id": FILL, "stop": True, "months": names}}
        dag_run(state, tasks, run_id=f"gaps__{FILL}__2011-0{number}", conf=conf, xcoms=ELSEWHERE)
