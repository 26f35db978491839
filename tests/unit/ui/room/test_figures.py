"""Trends, comparisons and neighbours: figures that can be believed, and what is said of the others."""

from __future__ import annotations

import pytest
from confidential_spark.core.months import Month
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.hooks.index.entry import IndexEntry
from confidential_spark.hooks.index.index import Index, change_index
from confidential_spark.hooks.index.places import FolderIndex
from confidential_spark.jobs.figures import count, dollars
from confidential_spark.ui.room import page as room
from confidential_spark.ui.room.compare import change
from confidential_spark.ui.room.trends import HEIGHT, LEFT, TOP, WIDTH, Point, trend

from tests.unit.ui.conftest import DAG_ID, SUMMARY, with_checks
from tests.unit.ui.test_app import Tags

GREEN = dict.fromkeys(TASK_IDS, "success")
TRENDS = f"/trends/{DAG_ID}"


@pytest.fixture(autouse=True)
def nothing_inline(monkeypatch):
    monkeypatch.setattr(room, "INLINE_S", 0.0)


@pytest.fixture
def months(publish, dag_run):
    for number, trips in ((1, 100), (2, 200), (4, 300), (5, 330)):
        summary = {**SUMMARY, "totals": {**SUMMARY["totals"], "trips": trips}}
        publish(key=f"month=2018-{number:02d}", summary=summary, report=with_checks())
    publish(key="month=2017-05", summary={**SUMMARY, "totals": {"trips": 660}}, report=with_checks())
    dag_run("success", GREEN)


def row(html, label):
    """Return the texts of a table's row."""
    found = html.partition(f'<th scope="row">{label}</th>')[2].partition("</tr>")[0]
    return [part.partition("<")[0].strip() for part in found.split(">")[1::2]]


def point(month, value, *, verified=True):
    return Point(month, f"month={month}", value, str(value), "", verified)


def test_a_line_is_interrupted_where_a_month_is_missing():
    months = [Month(2018, 1), Month(2018, 2), Month(2018, 4), Month(2018, 5), Month(2018, 7)]
    made = trend("x", "X", [point(month, 10 * n) for n, month in enumerate(months)], count)
    assert [line.count(" ") + 1 for line in made.lines] == [2, 2]
    assert (made.points[0].x, made.points[-1].x) == (LEFT, WIDTH - 12)
    assert (made.points[-1].y, made.points[0].y) == (TOP, HEIGHT - 24)
    assert (made.top, made.middle, made.bottom) == ("40", "20", "0")


def test_a_line_of_small_counts_names_no_value_twice():
    made = trend("x", "X", [point(Month(2018, n), n - 1) for n in (1, 2)], count)
    assert (made.top, made.middle, made.bottom) == ("1", "", "0")


@pytest.mark.parametrize("values", [(0, 0), (-5, 5), (7,), (10**15, 1)], ids=str)
def test_every_value_is_on_the_paper(values):
    made = trend("x", "X", [point(Month(2018, n), v) for n, v in enumerate(values, 1)], count)
    assert all(LEFT <= each.x <= WIDTH and TOP <= each.y <= HEIGHT - 24 for each in made.points)


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        pytest.param(dollars, "$1,234", id="whole-dollars"),
        pytest.param(lambda value: dollars(-value), "-$1,234", id="negative"),
        pytest.param("{:.1f} mph".format, "123456.0 mph", id="other-units-as-they-are"),
    ],
)
def test_there_is_room_beside_a_line_for_whole_dollars(show, expected):
    made = trend("x", "X", [point(Month(2018, 1), 123_456)], show)
    assert made.top == expected


def test_eighteen_years_have_no_more_labels_than_fit():
    months = [Month(2009, 1).shift(n) for n in range(216)]
    made = trend("x", "X", [point(month, 1) for month in months], count)
    assert len(made.years) == 9
    assert len(made.lines) == 1


@pytest.mark.parametrize(
    ("left", "right", "show", "expected"),
    [
        pytest.param(200, 300, count, "+100 (+50.0%)", id="more"),
        pytest.param(300, 200, count, "−100 (−33.3%)", id="less"),
        pytest.param(5, 5, count, "equal", id="equal"),
        pytest.param(0, 5, count, "+5", id="from-nothing"),
        pytest.param(None, 5, count, "", id="absent"),
        pytest.param(100, 250, dollars, "+$1.50 (+150.0%)", id="dollars"),
    ],
)
def test_a_change_is_said_in_two_ways(left, right, show, expected):
    assert change(left, right, show) == expected


def test_trends_say_which_values_are_verified(browse, months, by_hand):
    viewer = browse()
    before = viewer.get(TRENDS).text
    by_hand.work(rest=0)
    after = viewer.get(TRENDS).text
    # Without an index and a verification nothing is known of them.
    assert "No month is published yet." in before
    assert "Trips by month" in after
    assert 'class="unverified"' not in after
    assert after.count("<polyline") >= 2
    tables = [tag for tag, _ in Tags(after).found if tag == "table"]
    drawings = [tag for tag, _ in Tags(after).found if tag == "svg"]
    assert len(tables) == len(drawings) >= 5


def test_values_of_the_index_alone_are_hollow(browse, months, by_hand, tmp_path):
    entry = IndexEntry(version="try-1", figures={"totals.trips": 77})
    change_index(
        FolderIndex(tmp_path, DAG_ID), lambda _: Index(dag_id=DAG_ID, entries={"month=2018-01": entry})
    )
    html = browse().get(TRENDS).text
    assert 'class="unverified"' in html
    assert "<td>not yet</td>" in html
    by_hand.work(rest=0)
    assert '<td class="number">77</td>' not in browse().get(TRENDS).text


def test_refused_versions_have_no_figures(browse, months, by_hand, tmp_path):
    (tmp_path / DAG_ID / "month=2018-02" / "notes.txt").write_text("unlisted")
    browse().get(TRENDS)
    by_hand.work(rest=0)
    html = browse().get(TRENDS).text
    assert "2018-01</a>" in html
    assert "2018-02</a>" not in html
    page = (
        browse()
        .get("/compare", params={"left": f"{DAG_ID}/month=2018-01", "right": f"{DAG_ID}/month=2018-02"})
        .text
    )
    assert row(page, "Trips") == ["100", "–", ""]
    assert "REFUSED" in page


def test_two_months_are_compared_and_both_are_verified(browse, months):
    page = (
        browse()
        .get("/compare", params={"left": f"{DAG_ID}/month=2018-04", "right": f"{DAG_ID}/month=2018-05"})
        .text
    )
    assert page.count("VERIFIED 13/13") == 2
    assert row(page, "Trips") == ["300", "330", "+30 (+10.0%)"]
    assert row(page, "Revenue")[2] == "equal"
    assert row(page, "MRENCLAVE")[2] == "equal"


def test_a_month_stands_beside_its_neighbours(browse, months, by_hand):
    html = browse().get(f"/results/{DAG_ID}/month=2018-05").text
    assert row(html, "Trips") == ["330", "+30 (+10.0%)", "–", "−330 (−50.0%)"]
    assert "previous month, 2018-04" in html
    assert "next month, 2018-06: not published" in html
    assert f"compare?left={DAG_ID}/month%3D2018-04&amp;right={DAG_ID}/month%3D2018-05" in html
    assert "Trips, last 12 months" in html
    by_hand.work(rest=0)
    html = browse().get(f"/results/{DAG_ID}/month=2018-05").text
    assert "not verified yet" not in html.partition('id="beside"')[2]


@pytest.mark.parametrize(
    ("check", "title"),
    [
        pytest.param("trailing_trips", "Trips, last 12 months", id="figure-of-the-summary"),
        pytest.param("trailing_fare_per_trip", "Fare per trip, last 12 months", id="quotient"),
        pytest.param("history", "", id="compares-nothing"),
        pytest.param("<img src=x>", "", id="markup"),
    ],
)
def test_a_warning_about_history_is_shown_with_the_history(browse, publish, dag_run, by_hand, check, title):
    for number, trips in ((2, 100), (3, 110), (4, 105), (5, 400)):
        totals = {**SUMMARY["totals"], "trips": trips, "fare_cents": 1300 * trips}
        report = with_checks()
        if number == 5:
            report["checks"].append(
                {"name": check, "severity": "warn", "passed": False, "got": "z = +9", "expected": "±3.5"}
            )
        publish(key=f"month=2018-0{number}", summary={**SUMMARY, "totals": totals}, report=report)
    publish(key="month=2018-01", summary={**SUMMARY, "totals": {"trips": "none"}}, report=with_checks())
    dag_run("success", GREEN)
    browse().get(f"/results/{DAG_ID}/month=2018-05")
    by_hand.work(rest=0)
    html = browse().get(f"/results/{DAG_ID}/month=2018-05").text
    checks = html.partition('<h2 id="checks">')[2].partition("</section>")[0]
    assert ("<polyline" in checks) is bool(title)
    assert (f"<figcaption>{title}</figcaption>" in checks) is bool(title)
    assert checks.count("results/nytaxi_local/month%3D2018-0") == (4 if title else 0)
    assert "<img" not in html


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("", ""),
        (f"{DAG_ID}/month=2018-01", ""),
        (f"{DAG_ID}/month=2018-01", f"{DAG_ID}/month=2018-03"),
        (f"{DAG_ID}/month=2018-01", f"{DAG_ID}/../../etc"),
        (f"{DAG_ID}/month=2018-01", "<script>alert(1)</script>/x"),
        (f"{DAG_ID}/month=2018-01", "nytaxi_aks/month=2018-01"),
    ],
)
def test_what_is_not_published_is_not_compared(browse, months, left, right):
    answer = browse().get("/compare", params={"left": left, "right": right})
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize("role", [None, "nobody"])
@pytest.mark.parametrize(
    "route", [TRENDS, f"/compare?left={DAG_ID}/month=2018-01&right={DAG_ID}/month=2018-02"]
)
def test_who_may_not_see_figures(browse, months, role, route):
    answer = browse(role).get(route)
    assert answer.status_code in (401, 403, 404)
    assert "Trips" not in answer.text


@pytest.mark.parametrize("dag_id", ["nothing", "%3Cscript%3E", "enclave_image"])
def test_other_dags_have_no_trends(browse, months, dag_id):
    answer = browse("admin").get(f"/trends/{dag_id}")
    assert answer.status_code in (403, 404)
    assert "<script>" not in answer.text


def test_markup_in_an_entry_stays_text(browse, months, tmp_path):
    attack = "<img src=x onerror=alert(1)>"
    entry = IndexEntry(
        version="try-1", figures={"totals.trips": 1, attack: 2}, warned=(attack,), timings={attack: 3}
    )
    change_index(
        FolderIndex(tmp_path, DAG_ID), lambda _: Index(dag_id=DAG_ID, entries={"month=2018-01": entry})
    )
    for route in (TRENDS, f"/results/{DAG_ID}/month=2018-02"):
        assert [tag for tag, _ in Tags(browse().get(route).text).found if tag == "img"] == []
