"""The pictures of docs/images: `make screenshots`.

Runs months in simulation, which are kept in var/screenshots and not run again, starts Airflow's API server
over them, and photographs the pages in light and dark. One month is tampered with, so that a refusal can be
seen, one run is queued for ever, because nothing here schedules, and one measurement waits for a person.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from confidential_spark.core.months import Month
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.store import year_key

from scripts.local_airflow import environment
from scripts.process_tree import end_with_make
from tests.support import pending_approval
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

STATE, IMAGES = ROOT / "var" / "screenshots", ROOT / "docs" / "images"
DAG_ID, DAG = "nytaxi_local", "/dags/nytaxi_local"
PAGES = "/confidential-spark"
MONTHS = tuple(Month(2017, 1).shift(number) for number in range(17))
# All of whose months are run, and added up.
YEAR, YEAR_DAG = "2017", "nytaxi_year_local"
MISSING, TAMPERED, UNUSUAL, QUEUED = Month(2018, 3), Month(2018, 2), Month(2018, 5), Month(2018, 6)
# So few rows in the last month that its comparison with the months before warns.
ROWS, FEW_ROWS = 9000, 6000
WIDTH, HEIGHT = 1100, 660
FOLDER_IN_WORDS = """(all, folder) => all.forEach(each => {
    const results = each.textContent.replaceAll(`${folder}/var/screenshots/shown`, "/srv/results");
    const text = results.replaceAll(`${folder}/var/screenshots/include`, "/opt/confidential-spark/include");
    each.textContent = text.replaceAll(folder, "/opt/confidential-spark");
})"""


def main() -> int:
    """Write the pictures."""
    end_with_make()
    home, results = STATE / "airflow", STATE / "results"
    for number, month in enumerate(MONTHS):
        if month != MISSING:
            run_month(home, results, month, FEW_ROWS if month == UNUSUAL else ROWS + 211 * number)
    run_year(home, results)
    shown = STATE / "shown"
    shutil.rmtree(shown, ignore_errors=True)
    shutil.copytree(results, shown, symlinks=True)
    tamper(shown / DAG_ID / f"month={TAMPERED}" / "summary.json")
    # In a process of its own: Airflow looks for its home when it is first imported.
    env = {
        **environment(home),
        "CONFIDENTIAL_SPARK_RESULTS_DIR": str(shown),
        "CONFIDENTIAL_SPARK_INCLUDE_DIR": str(pending_approval.include_folder(STATE / "include")),
        "CONFIDENTIAL_SPARK_IMAGE_POLICY": pending_approval.POLICY,
        "CONFIDENTIAL_SPARK_DCSV3_POLICY": pending_approval.POLICY,
        "CONFIDENTIAL_SPARK_AKS_POLICY": pending_approval.POLICY,
    }
    command = [sys.executable, "-c", f"from {__spec__.name} import take; take()"]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def take() -> None:
    """Photograph the pages of the Airflow that the environment names."""
    with site() as address, browser() as chromium:
        queue(QUEUED)
        pending_approval.ask()
        for scheme in ("light", "dark"):
            photograph(chromium, address, scheme)


def run_month(home: Path, results: Path, month: Month, rows: int) -> None:
    """Run one month through all four stages, unless it is published.

    :raises subprocess.CalledProcessError: the run failed; what it said is printed.
    """
    if FolderStore(results, DAG_ID).current(f"month={month}") is not None:
        return
    print(f"{month}: running with {rows:,} synthetic rows …", flush=True)
    command = [sys.executable, "-m", "scripts.run_month", "--home", str(home), "--month", str(month)]
    env = os.environ | {"CONFIDENTIAL_SPARK_RESULTS_DIR": str(results)}
    subprocess.run([*command, "--rows", str(rows)], cwd=ROOT, env=env, check=True)


def run_year(home: Path, results: Path) -> None:
    """Add the first year's months up, unless they are.

    :raises subprocess.CalledProcessError: the run failed; what it said is printed.
    """
    if FolderStore(results, YEAR_DAG).current(year_key(YEAR)) is None:
        command = [sys.executable, "-m", "airflow", "dags", "test", YEAR_DAG]
        env = {**environment(home), "CONFIDENTIAL_SPARK_RESULTS_DIR": str(results)}
        subprocess.run([*command, "--conf", f'{{"year": "{YEAR}"}}'], cwd=ROOT, env=env, check=True)


def tamper(path: Path) -> None:
    """Change one byte of a result file."""
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content.replace(b'"month"', b'"Month"', 1))


@contextmanager
def site() -> Iterator[str]:
    """Yield the address of Airflow's API server in this process."""
    import uvicorn
    from airflow.api_fastapi.app import create_app

    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(create_app(), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    if not started.wait(120):
        raise SystemExit("ERROR: Airflow's API server does not start.")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@contextmanager
def browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import EXECUTABLE, FLAGS

    if EXECUTABLE is None:
        raise SystemExit("ERROR: there is no Chromium on this machine; Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS, chromium_sandbox=False)


def queue(month: Month) -> None:
    """Put a run into Airflow's database that waits for a scheduler, unless it is there."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import select

    run_id, now = f"manual__{month}", datetime.now(UTC)
    named = {"dag_id": DAG_ID, "run_id": run_id, "run_type": "manual", "run_after": now}
    by = {"triggered_by": DagRunTriggeredByType.UI, "triggering_user_name": "admin"}
    with create_session() as session:
        if session.scalar(select(DagRun.id).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id)) is None:
            session.add(DagRun(**named, **by, state="queued", conf={"month": str(month)}))


def photograph(chromium: Browser, address: str, scheme: str) -> None:
    """Write a picture of each page in a colour scheme."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN"))
    context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    context.add_cookies([{"name": "_token", "value": token, "url": address}])
    context.add_init_script(f"localStorage.setItem('theme', '{scheme}')")
    page = context.new_page()

    def show(name: str, place: str, at: str = "") -> None:
        page.goto(f"{address}{place}")
        # Where a page says where this machine keeps its files, the picture does not.
        page.locator("code[data-copy]").evaluate_all(FOLDER_IN_WORDS, str(ROOT))
        if at:
            page.locator(at).evaluate("element => element.scrollIntoView()")
        keep(page, IMAGES / f"{name}-{scheme}.png")

    page.goto(f"{address}{PAGES}/room?dag_id={DAG_ID}")
    page.get_by_text("not verified yet;").wait_for(state="detached", timeout=60_000)
    month = f"{DAG_ID}/month={UNUSUAL}"
    show("month", f"{PAGES}/results/{month}")
    show("month-checks", f"{PAGES}/results/{month}", "#checks")
    show("refused", f"{PAGES}/results/{DAG_ID}/month={TAMPERED}")
    show("trends", f"{PAGES}/trends/{DAG_ID}")
    other = quote(f"{DAG_ID}/month={UNUSUAL.shift(-1)}")
    show("compare", f"{PAGES}/compare?left={other}&right={quote(month)}")
    show("gaps", f"{PAGES}/gaps/{DAG_ID}?first={MONTHS[0]}&last={UNUSUAL}")
    show("audit", f"{PAGES}/audit/{DAG_ID}?first={MONTHS[0]}&last={UNUSUAL}")
    show("measurements", f"{PAGES}/measurements")
    show("decision", f"{PAGES}/measurements/{quote(pending_approval.RUN)}")
    show("runbook", f"{PAGES}/runbooks/storage")
    page.set_viewport_size({"width": WIDTH + 80, "height": HEIGHT + 160})
    page.goto(f"{address}/plugin/control-room")
    page.frame_locator("iframe").get_by_role("heading", name="Control room").wait_for(timeout=60_000)
    keep(page, IMAGES / f"control-room-{scheme}.png")
    context.close()


def keep(page: Page, path: Path) -> None:
    """Write what the page shows as a PNG of few colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled", caret="hide")


if __name__ == "__main__":
    raise SystemExit(main())
