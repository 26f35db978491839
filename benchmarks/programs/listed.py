"""The list page over many published results, as its second visitor waits for it: `listed RESULTS`.

The results are spread over the three platforms. The first visit verifies them all; from then on the server
knows them. The web server's own share is not in the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.programs.own_figures import measured
from tests.unit.ui import conftest as pages

PLATFORMS = ("local", "dcsv3", "aks")
VISITS = 5
FIRST_VISITS = 40


def main() -> None:
    results = int(sys.argv[1])
    with TemporaryDirectory() as name:
        folder = Path(name)
        deploy(folder)
        for number in range(results):
            publish(folder / "results", f"nytaxi_{PLATFORMS[number % 3]}", month(number // 3))
        visit(folder / "results")


def deploy(folder: Path) -> None:
    """Make an Airflow's database and an include folder whose policies accept what is published here."""
    (folder / "include").mkdir()
    pages.write_include(folder / "include")
    os.environ |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "CONFIDENTIAL_SPARK_INCLUDE_DIR": str(folder / "include"),
        "CONFIDENTIAL_SPARK_DCSV3_POLICY": "simulation",
        "CONFIDENTIAL_SPARK_AKS_POLICY": "simulation",
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


def month(number: int) -> str:
    """Return one of the months from 2009 on."""
    return f"{2009 + number // 12}-{number % 12 + 1:02d}"


def publish(results: Path, dag_id: str, month: str, **summary: object) -> None:
    """Put a result where readers look, as the result store does.

    :param summary: members of `summary.json` besides the usual ones.
    """
    key, run_id = f"month={month}", f"manual__{month}-01T00:00:00+00:00"
    version = results / dag_id / ".versions" / key / "try-1"
    version.mkdir(parents=True)
    (version / "summary.json").write_text(json.dumps({**pages.SUMMARY, "month": month, **summary}))
    digest = sha256((version / "summary.json").read_bytes()).hexdigest()
    evidence = pages.signed(dag_id, month, run_id, (("summary.json", digest),))
    (version / "evidence.json").write_bytes(evidence)
    report = pages.with_identity(pages.REPORT, dag_id, month, run_id)
    (version / "report.json").write_text(json.dumps(report))
    (results / dag_id / key).symlink_to(f".versions/{key}/try-1")


def visit(results: Path) -> None:
    """Show the page until every result is verified, and then measure it."""
    from airflow.utils.session import create_session
    from confidential_spark.ui import queries
    from confidential_spark.ui.rendering import render
    from confidential_spark.ui.results.published import Published
    from confidential_spark.ui.views.calendar_view import CellState

    visible = {f"nytaxi_{platform}" for platform in PLATFORMS}

    def page() -> queries.ListPage:
        with create_session() as session:
            found = queries.list_page(session, visible, Published(results))
            render("results/list.html", root="", page=found, states=CellState)
        return found

    for _ in range(FIRST_VISITS):
        if all(section.is_complete for section in page().dags):
            break
    page()
    with measured(VISITS):
        for _ in range(VISITS):
            page()


if __name__ == "__main__":
    main()
