"""What a running Airflow costs: `live idle SECONDS`, or `live back-fill`, of 2018's twelve months.

Idle: CPU seconds of `make ui` in each second. Back-fill: CPU seconds of everything, from the command to the
last published month.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.programs.own_figures import PREFIX
from benchmarks.side_by_side.cost import cpu_seconds
from tests.integration.live_airflow import LiveAirflow, end_all, wait_until

DAG = "nytaxi_local"
SETTLING_SECONDS = 20
PATIENCE_SECONDS = 3600


def main() -> None:
    what, *seconds = sys.argv[1:]
    with TemporaryDirectory() as folder:
        rows = {"CONFIDENTIAL_SPARK_SYNTHETIC_ROWS": "10000"}
        airflow = LiveAirflow(Path(folder), variables=rows, scheduled=True)
        try:
            airflow.ensure_running()
            assert airflow.process
            wait_until(lambda: is_at_rest(airflow), "the runs of last month have ended", PATIENCE_SECONDS)
            wall, cpu = time.monotonic(), cpu_seconds(airflow.process.pid)
            if what == "idle":
                wall, cpu = idle(airflow.process.pid, int(seconds[0]))
            else:
                back_fill(airflow)
                wall = time.monotonic() - wall
                cpu = cpu_seconds(airflow.process.pid) - cpu
            print(PREFIX + json.dumps({"wall_s": wall, "cpu_s": cpu}), flush=True)
            airflow.end()
        finally:
            end_all(Path(folder))


def is_at_rest(airflow: LiveAirflow) -> bool:
    """Whether the runs are over that a new Airflow starts by itself: last month's and its year's."""
    ends = "select count(*), sum(end_date is null or end_date > datetime('now', ?)) from dag_run"
    [(runs, recent)] = airflow.rows(ends, f"-{SETTLING_SECONDS} seconds")
    return bool(runs) and not recent


def idle(process: int, seconds: int) -> tuple[float, float]:
    """Return one second, and the CPU seconds used in it while nothing runs."""
    wall, cpu = time.monotonic(), cpu_seconds(process)
    time.sleep(seconds)
    return 1.0, (cpu_seconds(process) - cpu) / (time.monotonic() - wall)


def back_fill(airflow: LiveAirflow) -> None:
    """Run the twelve months of 2018 to their end."""
    span = ("--from-date", "2018-01-01", "--to-date", "2018-12-01")
    airflow.cli("backfill", "create", "--dag-id", DAG, *span, "--max-active-runs", "4")

    def ended() -> bool:
        return all(moment for (moment,) in airflow.rows("select completed_at from backfill"))

    wait_until(ended, "the back-fill has ended", PATIENCE_SECONDS)
    states = airflow.rows("select state from dag_run where run_type = 'backfill'")
    assert states == [("success",)] * 12, states


if __name__ == "__main__":
    main()
