"""Years on the pages: what is verified now and compared with the published months, and nothing more."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from html import unescape
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
import yaml
from confidential_spark.cli.main import main
from confidential_spark.core.stages import FAILURE_KEY
from confidential_spark.hooks.index.index import Index, change_index, read_index
from confidential_spark.hooks.index.places import FolderIndex

from tests.support.factories.years import MONTHS, month_files, write_files, write_year
from tests.unit.ui.conftest import DAG_ID, POLICY_FILE
from tests.unit.ui.test_app import Tags

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

YEARS, KEY = "nytaxi_year_local", "year=2018"
ROOM, PAGE = f"/room?dag_id={DAG_ID}", f"/results/{YEARS}/{KEY}"
FIND, PUBLISH = "find_months", "publish_year"


@pytest.fixture(scope="module")
def genuine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("genuine") / "year"
    write_year(folder)
    return folder


@pytest.fixture(autouse=True)
def both_dags_are_known(dag_run, deployment):
    """Airflow knows a DAG by a run of it."""
    for dag_id in (DAG_ID, YEARS):
        dag_run("success", {}, dag_id=dag_id, run_id="known")


def put(root: Path, dag_id: str, key: str, attempt: str) -> Path:
    """Let readers of a key see a new version, and return its folder, which is not there yet."""
    version = root / dag_id / ".versions" / key / attempt
    version.parent.mkdir(parents=True, exist_ok=True)
    link = root / dag_id / key
    link.unlink(missing_ok=True)
    link.symlink_to(f".versions/{key}/{attempt}")
    return version


@pytest.fixture
def publish_month(tmp_path) -> Callable[..., None]:
    def publish(month: str, attempt: str = "try-1", **form: Any) -> None:
        write_files(put(tmp_path, DAG_ID, f"month={month}", attempt), month_files(month, **form))

    return publish


@pytest.fixture
def year(tmp_path, genuine, publish_month) -> Path:
    """The folder of a published year, whose months are published."""
    for month in MONTHS:
        publish_month(month)
    folder = put(tmp_path, YEARS, KEY, "run-2018.try1")
    shutil.copytree(genuine, folder)
    return folder


@pytest.fixture
def look(browse, by_hand) -> Callable[..., str]:
    """Return the control room after all verifications that the first look asks for."""

    def look(role: str = "viewer") -> str:
        browse(role).get(ROOM)
        by_hand.work(rest=0)
        return browse(role).get(ROOM).text

    return look


def cell(html: str, year: str = "2018") -> dict[str, str]:
    """Return the attributes of what stands for a year in the matrix."""
    for _, attrs in Tags(html).found:
        if str(attrs.get("title", "")).startswith(f"{year} as a whole"):
            return {name: str(value) for name, value in attrs.items()}
    return {}


def needs(html: str) -> str:
    return unescape(html.partition('id="needs-section"')[2].partition("</section>")[0])


def said(html: str) -> str:
    """Return the word of the page's verdict."""
    return unescape(html.partition('class="word" role="status">')[2].partition("</p>")[0])


def test_a_year_is_not_true_before_this_server_has_verified_it(browse, year, by_hand) -> None:
    before = cell(browse().get(ROOM).text)
    by_hand.work(rest=0)
    after = cell(browse().get(ROOM).text)
    assert before["title"].startswith("2018 as a whole, published, not verified yet")
    assert after["title"].startswith(
        "2018 as a whole, published, and the sum of the months that are published now, VERIFIED 8/8 at "
    )
    assert after["title"].endswith("SIMULATED")
    assert after["href"] == PAGE.removeprefix("/").replace("=", "%3D")


def test_state_is_said_by_name_and_sign(year, look) -> None:
    html = look()
    row = html.partition('<th scope="row">2018</th>')[2].partition("</tr>")[0]
    assert '<span class="sign" aria-hidden="true">✓</span> <span class="name">true now</span>' in row
    assert "The year" not in needs(html)


def replaced(publish_month, tmp_path) -> None:
    publish_month("2018-05", "try-2", trips=7_000)


def gone(publish_month, tmp_path) -> None:
    (tmp_path / DAG_ID / "month=2018-05").unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(replaced, "2018-05 was replaced by version try-2", id="replaced"),
        pytest.param(gone, "2018-05 is no longer published", id="gone"),
    ],
)
def test_a_stale_year_is_named_in_the_matrix_in_the_list_and_on_its_page(
    browse, year, look, publish_month, tmp_path, change, why
) -> None:
    assert "true now" in look()
    change(publish_month, tmp_path)
    html = look()
    page = unescape(browse().get(PAGE).text)

    assert cell(html)["title"].startswith(f"2018 as a whole, STALE: a month was replaced since, {why}")
    assert f'The year 2018 is STALE</strong> <span class="detail">{why}' in needs(html)
    assert "Trigger it with year 2018" in needs(html)
    assert said(page) == "STALE"
    assert why in page
    assert "STALE · " + why in page, "what the command says"
    assert "SIMULATED" in page


def test_a_year_that_leads_to_another_one_is_refused_and_leaves_that_one_true(year, look, tmp_path) -> None:
    (tmp_path / YEARS / "year=2017").symlink_to(f".versions/{KEY}/{year.name}")
    html = look()
    states = {name: cell(html, name)["title"] for name in ("2017", "2018")}
    assert "REFUSED year-statement" in states["2017"]
    assert "published, and the sum of the months that are published now" in states["2018"]


def test_a_month_that_nobody_has_verified_leaves_the_comparison_open(
    browse, year, look, publish_month, by_hand, monkeypatch
) -> None:
    look()
    publish_month("2018-05", "try-2", trips=7_000)
    monkeypatch.setattr("confidential_spark.ui.room.page.INLINE_S", 0.0)
    unsure = cell(browse().get(ROOM).text)["title"]
    assert "published, not verified yet" in unsure
    assert "1 of the published months not compared" in unsure


def of_another_year(year: Path) -> None:
    key = year.parent.parent / "year=2017"
    key.mkdir()
    shutil.copytree(year, key / year.name)
    (year.parents[2] / "year=2017").symlink_to(f".versions/year=2017/{year.name}")
    shutil.rmtree(year)
    (year.parents[2] / KEY).unlink()


def more_trips(year: Path) -> None:
    path = year / "summary.json"
    path.write_text(path.read_text().replace('"trips": 1', '"trips": 9', 1))


def no_statement(year: Path) -> None:
    (year / "evidence.json").write_text("{}")


def forged_month(year: Path) -> None:
    path = year / "months" / "2018-05" / "evidence.json"
    path.write_bytes(month_files("2018-05", trips=9_000)["evidence.json"])


@pytest.mark.parametrize(
    ("change", "code", "filed"),
    [
        pytest.param(more_trips, "result-digest-mismatch", "2018", id="sum-changed"),
        pytest.param(no_statement, "year-statement", "2018", id="no-statement"),
        pytest.param(forged_month, "result-digest-mismatch", "2018", id="month-forged"),
        pytest.param(of_another_year, "year-statement", "2017", id="filed-under-another-year"),
        pytest.param(lambda y: (y / "more.csv").write_text("x"), "result-unlisted", "2018", id="a-file-more"),
    ],
)
def test_a_tampered_year_is_refused_by_name_and_says_no_figure(
    browse, year, look, change, code, filed
) -> None:
    look()
    change(year)
    html = look()
    page = browse().get(f"/results/{YEARS}/year={filed}").text

    assert cell(html, filed)["title"].startswith(
        f"{filed} as a whole, published, and refused, REFUSED {code}"
    )
    assert f"The year {filed} is refused" in needs(html)
    assert said(page).startswith("REFUSED ")
    assert f"runbooks/{code}" in page
    assert 'id="totals"' not in page
    assert 'id="months"' not in page


def test_the_page_has_claim_months_sums_digests_commands_and_downloads(browse, year, dag_run) -> None:
    dag_run("success", {PUBLISH: "success"}, dag_id=YEARS, run_id="r", xcoms={})
    page = unescape(browse().get(PAGE).text)
    assert said(page).startswith("VERIFIED JUST NOW 8/8 (")
    assert "SIMULATED</strong> – proves nothing about hardware" in page
    assert "computed outside of any enclave" in page
    assert (
        "VERIFIED · the sum of its twelve months · trust: SIMULATED – proves nothing about hardware<" in page
    )
    assert page.count(">published now<") == 12
    for month in MONTHS:
        assert f'href="../../results/{DAG_ID}/month%3D{month}"' in page
        assert f"run-{month}.try1" in page
    assert "<dt>Trips</dt><dd>1,266</dd>" in page
    assert "../../../dags/nytaxi_year_local/runs/r" in page
    assert "year verify nytaxi_year_local-2018 --policy include/policies/simulation.yaml" in page
    assert page.count("data-copy") == 2


def test_the_commands_of_the_page_say_what_the_page_says(
    browse, year, publish_month, deployment, capsys, tmp_path
) -> None:
    viewer = browse()
    page = unescape(viewer.get(PAGE).text)
    here = page.split("<code data-copy>")[2].partition("</code>")[0].split()
    assert main(here[here.index("year") :]) == 0
    publish_month("2018-05", "try-2", trips=7_000)
    assert main(here[here.index("year") :]) == 3

    archive = viewer.get(f"{PAGE}/archive.zip")
    with ZipFile(BytesIO(archive.content)) as file:
        file.extractall(tmp_path / "mine")
    capsys.readouterr()
    command = page.split("<code data-copy>")[1].partition("</code>")[0].split()
    command = [part.replace("include/", f"{deployment}/") for part in command[1:]]
    command[2] = str(tmp_path / "mine" / command[2])
    assert main(command) == 0
    assert "VERIFIED · the sum" in capsys.readouterr().out


def test_a_month_that_cannot_be_read_is_not_compared_and_the_page_says_so(browse, year, tmp_path) -> None:
    (tmp_path / DAG_ID / "month=2018-05" / "evidence.json").unlink()
    page = browse().get(PAGE).text
    assert "NOT COMPARED" in said(page)
    assert "2018-05 cannot be read as published now" in page
    assert "Its months are the published ones" not in page


def test_a_fault_of_the_deployment_proves_nothing_and_says_why(browse, year, look, deployment) -> None:
    (deployment / "policies/simulation.yaml").write_text("{}")
    html, page = look(), browse().get(PAGE).text
    assert "NOT CHECKED" in cell(html)["title"]
    assert said(page) == "NOT CHECKED"
    assert "Nothing is proven" in page
    assert 'id="totals"' not in page


def test_a_policy_that_does_not_accept_the_months_refuses_the_year(browse, year, look, deployment) -> None:
    assert "true now" in look()
    denied = {**POLICY_FILE["identities"], "mrenclave": {"allow": ["00" * 32]}}
    (deployment / "policies/simulation.yaml").write_text(
        yaml.safe_dump({**POLICY_FILE, "identities": denied})
    )
    assert "REFUSED year-month-refused" in cell(look())["title"]


@pytest.mark.parametrize(
    ("months", "sign", "name"),
    [
        pytest.param(5, "○", "5 of 12", id="five"),
        pytest.param(12, "…", "12 of 12", id="all-and-not-added-up"),
    ],
)
def test_a_year_that_is_not_there_says_how_many_months_are(look, publish_month, months, sign, name) -> None:
    for month in MONTHS[:months]:
        publish_month(month)
    html = look()
    assert f'aria-hidden="true">{sign}</span> <span class="name">{name}</span>' in html
    assert ("2018 has twelve months and no sum yet" in needs(html)) == (months == 12)


def test_a_run_that_failed_since_is_named_with_its_code(browse, year, look, dag_run) -> None:
    reason = {(PUBLISH, FAILURE_KEY): "A month does not verify. code: year-month-refused"}
    dag_run(
        *("failed", {FIND: "success", PUBLISH: "failed"}),
        **{"dag_id": YEARS, "run_id": "later", "conf": {"year": "2018"}, "xcoms": reason},
        start_date=datetime.now(UTC) + timedelta(hours=1),
    )
    html = look()
    assert cell(html)["title"].startswith("2018 as a whole, its newest run was refused or failed, ")
    assert "an earlier version is published: VERIFIED 8/8" in cell(html)["title"]
    assert "The year 2018 failed" in needs(html)
    assert "runs/later" in needs(html)
    assert "The newest run of this year is" in browse().get(PAGE).text


def test_a_run_of_a_partition_is_the_years(year, look, dag_run) -> None:
    dag_run("running", {FIND: "running"}, dag_id=YEARS, run_id="now", partition_key="2018", xcoms={})
    assert "2018 as a whole, being added up" in cell(look())["title"]


def test_an_older_failure_is_not_the_years_state(year, look, dag_run) -> None:
    long_ago = {"start_date": datetime(2020, 1, 1, tzinfo=UTC), "conf": {"year": "2018"}}
    dag_run("failed", {PUBLISH: "failed"}, dag_id=YEARS, run_id="old", xcoms={}, **long_ago)
    assert "true now" in look()


@pytest.mark.parametrize(
    ("role", "status"),
    [
        pytest.param(None, 401, id="stranger"),
        pytest.param("viewer", 200, id="viewer"),
        pytest.param("nobody", 403, id="nobody"),
    ],
)
def test_who_may_see_a_year(browse, year, role, status) -> None:
    for place in (PAGE, f"{PAGE}/archive.zip", f"{PAGE}/evidence.json"):
        assert browse(role).get(place).status_code == status


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(f"/results/{YEARS}/year=2011", id="not-published"),
        pytest.param(f"/results/{YEARS}/year=2018%2F..", id="a-path"),
        pytest.param(f"/results/{YEARS}/{KEY}?version=..", id="a-page-has-no-versions"),
    ],
)
def test_other_names_are_no_years(browse, year, place) -> None:
    assert browse().get(place).status_code == (200 if "version" in place else 404)


def test_a_job_without_years_has_no_column(browse, dag_run, publish) -> None:
    dag_run("success", {}, dag_id="sparkpi_local", run_id="known")
    publish("sparkpi_local", "run=one", run_id="one")
    assert "Signs of the years" not in browse().get("/room?dag_id=sparkpi_local").text


def test_an_altered_index_makes_no_claim_about_a_year(browse, year, by_hand, tmp_path) -> None:
    file = FolderIndex(tmp_path, YEARS)
    change_index(file, lambda _: Index(dag_id=YEARS, entries={}))
    browse().get(ROOM)
    by_hand.work(rest=0)
    assert read_index(file).entries[KEY].rows == 1266
    spoilt = read_index(file).entries[KEY].model_copy(update={"trust": "hardware", "rows": 10**9})
    change_index(file, lambda index: index.with_entries({KEY: spoilt}))
    html = browse().get(ROOM).text
    assert "VERIFIED 8/8" in cell(html)["title"]
    assert "hardware" not in cell(html)["title"]


def test_markup_in_a_statement_stays_text(browse, year) -> None:
    statement = json.loads((year / "evidence.json").read_bytes())
    statement["predicate"]["job"] = "<img src=x>"
    (year / "evidence.json").write_text(json.dumps(statement))
    assert "<img" not in browse().get(PAGE).text


def test_the_page_audit_names_the_year_and_its_bundle_has_it(browse, year, look, tmp_path, capsys) -> None:
    look()
    span = "first=2018-01&last=2018-12"
    page = browse().get(f"/audit/{DAG_ID}?{span}").text
    assert "Years of which all months are in the range" in page
    assert "✓ true now: published, and the sum of the months that are published now" in page
    assert "Years of which" not in browse().get(f"/audit/{DAG_ID}?first=2018-02&last=2018-12").text
    (tmp_path / "bundle.zip").write_bytes(browse().get(f"/audit/{DAG_ID}/bundle.zip?{span}").content)
    assert main(["audit", "verify", str(tmp_path / "bundle.zip"), "--trust-bundle"]) == 0
    assert "years VERIFIED: 2018" in capsys.readouterr().out
