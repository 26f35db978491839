"""The control room over years of three jobs on three platforms, as it is seen the second time: `room YEARS`.

Each of the nine DAGs has a result and a run for every month, and an index; the months of the DAG that is
shown are genuine, and verified on the first visits, and so are its years. The web server's own share
is not in the figures.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from confidential_spark.core.stages import TASK_IDS
from confidential_spark.hooks.index.entry import index_entry
from confidential_spark.hooks.index.index import Index, change_index
from confidential_spark.hooks.index.places import FolderIndex
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.rollup.making import make_year
from confidential_spark.verification import load_policy
from confidential_spark.years.months import Acceptance
from confidential_spark.years.sums import months_of_year

from benchmarks.programs.listed import PLATFORMS, deploy, month, publish
from benchmarks.programs.own_figures import measured
from tests.unit.ui import conftest as pages

if TYPE_CHECKING:
    from confidential_spark.ui.room.page import RoomPage

MONTHS = 12 * int(sys.argv[1])
SHOWN, YEARS = "nytaxi_local", "nytaxi_year_local"
DAGS = tuple(f"{job}_{platform}" for job, platform in product(JOBS, PLATFORMS))
VISITS = 10
AMOUNTS = {"revenue_cents": 16_711_801, "fare_cents": 12_000_000, "tip_cents": 1_936_127}
ADDED_UP = {
    "totals": {**pages.SUMMARY["totals"], **AMOUNTS, "duration_s": 6_981_800},
    "all_rows": {"rows": 10_000, **AMOUNTS},
    "rules": [{"name": "fare_negative", "action": "reject", "rows": 26, "first": 26}],
    "options": {"outlier_cap_cents": 100_000},
}
"""What of a month's summary a year needs."""
FIRST_VISITS = 400


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        deploy(folder)
        results = folder / "results"
        for number in range(MONTHS):
            publish(results, SHOWN, month(number), **ADDED_UP)
        publish_years(results, folder / "include/policies/simulation.yaml")
        for dag_id in DAGS:
            if dag_id != SHOWN:
                shutil.copytree(results / SHOWN, results / dag_id, symlinks=True)
            write_index(results, dag_id)
        write_runs()
        visit(results)


def publish_years(results: Path, policy: Path) -> None:
    """Add the shown months up, and put each year where readers look."""
    accept = Acceptance(load_policy(policy))
    for year in map(str, range(2009, 2009 + MONTHS // 12)):
        version = results / YEARS / ".versions" / f"year={year}" / "try-1"
        for name in months_of_year(year):
            shutil.copytree(results / SHOWN / f"month={name}", version / "months" / name)
        make_year(version, year, "nytaxi", accept, run_id=f"{YEARS}/r", versions={})
        (results / YEARS / f"year={year}").symlink_to(f".versions/year={year}/try-1")


def write_index(results: Path, dag_id: str) -> None:
    """Put all months of a DAG into its index."""
    report = pages.with_identity(pages.REPORT, dag_id, "2018-05", "manual")
    timings = {"spark.run_spark": 11.5, "validation.publish": 0.5}
    of_report = {**report, "timings": timings}
    entry = index_entry("try-1", of_report, pages.SUMMARY, None, JOBS[dag_id.rpartition("_")[0]])
    entries = {f"month={month(number)}": entry for number in range(MONTHS)}
    change_index(FolderIndex(results, dag_id), lambda _: Index(dag_id=dag_id, entries=entries))


def write_runs() -> None:
    """Give every month a run that ended well; one month of the shown DAG failed, one is at work."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    at = datetime(2026, 11, 1, tzinfo=UTC)
    states = {7: "failed", 8: "running"}
    runs = [
        {
            "dag_id": dag_id,
            "run_id": f"manual__{month(number)}",
            "run_type": "manual",
            "state": states.get(number, "success") if dag_id == SHOWN else "success",
            "conf": {"month": month(number)},
            "run_after": at,
            "start_date": at,
            "end_date": at,
        }
        for dag_id in DAGS
        for number in range(MONTHS)
    ]
    with create_session() as session:
        connection = session.connection()
        connection.execute(DagRun.__table__.insert(), runs)
        connection.execute(TaskInstance.__table__.insert(), tasks_of_shown())


def tasks_of_shown() -> list[dict[str, Any]]:
    """Return the tasks of the shown DAG's runs."""
    from uuid6 import uuid7

    return [
        {
            "id": uuid7(),
            "task_id": task_id,
            "dag_id": SHOWN,
            "run_id": f"manual__{month(number)}",
            "map_index": -1,
            "state": "failed" if number == 7 and task_id == "spark.run_spark" else "success",
            "try_number": 1,
            "pool": "default_pool",
        }
        for number in range(MONTHS)
        for task_id in TASK_IDS
    ]


def visit(results: Path) -> None:
    """Show the page until every month of the shown DAG is verified, and then measure it."""
    from airflow.utils.session import create_session
    from confidential_spark.ui.rendering import render
    from confidential_spark.ui.results.published import Published
    from confidential_spark.ui.results.years.judge import year_judge_of
    from confidential_spark.ui.results.years.line import YearState
    from confidential_spark.ui.room.matrix import Shade
    from confidential_spark.ui.room.page import room_page
    from confidential_spark.ui.room.verifier import Verifier
    from confidential_spark.ui.views.calendar_view import CellState

    class Idle(Verifier):
        """Leaves everything to the visits, so that nothing is measured beside them."""

        def start(self) -> None:
            return None

    def page() -> RoomPage:
        with create_session() as session:
            found = room_page(session, {*DAGS, YEARS}, Published(results), Idle(), dag_id=SHOWN, shade="rows")
            assert found is not None
            render(
                "room/room.html", root="", page=found, states=CellState, year_states=YearState, shades=Shade
            )
        return found

    judge = year_judge_of(YEARS)
    for result in Published(results).listed(YEARS).values():
        judge.judge(result)
    for _ in range(FIRST_VISITS):
        if page().proof.waiting == 0:
            break
    shown = page()
    assert (shown.proof.verified, shown.matrix and shown.matrix.published) == (MONTHS, MONTHS)
    lines = [row.line and row.line.state for row in shown.matrix.years] if shown.matrix else []
    assert lines[: MONTHS // 12] == [YearState.TRUE_NOW] * (MONTHS // 12)
    with measured(VISITS):
        for _ in range(VISITS):
            page()


if __name__ == "__main__":
    main()
