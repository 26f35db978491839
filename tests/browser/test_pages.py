"""What only a browser can tell: the policy blocks nothing we need, text can be read, nothing overflows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.jobs import JOBS
from confidential_spark.jobs.job import publication_key

from tests.unit.ui.conftest import DAG_ID, KEY, REPORT, RUN_ID, SUMMARY, with_checks

ELSEWHERE = {("spark.run_spark", "enclave_run"): {}}
GREEN = dict.fromkeys(TASK_IDS, "success")
PREFIX = "/confidential-spark"
RUN = f"{PREFIX}/runs/{DAG_ID}/{RUN_ID}"
PAGES = {"list": f"{PREFIX}/", "run": RUN, "result": f"{PREFIX}/results/{DAG_ID}/{KEY}"}
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-downloads"

# WCAG 2.2: relative luminance and contrast of every element that shows text of its own.
POOR_CONTRAST = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const paper = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = luminance(parse(e instanceof SVGElement ? style.fill : style.color));
    const back = luminance(paper(e));
    const contrast = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
  }
  return [...new Set(poor)];
})()
"""


@pytest.fixture
def results(publish, dag_run):
    publish(report=with_checks("warn"))
    for number in range(1, 11):
        if number != 5:
            rows = {"accepted": number * 800_000}
            publish(key=f"month=2018-{number:02d}", summary={**SUMMARY, "rows": rows}, report=with_checks())
    publish(key="month=2016-12", report=with_checks("warn"))
    (publish(key="month=2016-11") / "notes.txt").write_text("unlisted")
    single = publication_key(JOBS["sparkpi"], None, "manual__2026-11-01")
    publish(dag_id="sparkpi_local", key=single, run_id="manual__2026-11-01", report=with_checks())
    publish(dag_id="nytaxi_aks")
    dag_run("success", GREEN)
    dag_run("success", GREEN, dag_id="nytaxi_aks")
    for state, month in (("queued", "2018-12"), ("running", "2018-11"), ("failed", "2018-09")):
        tasks = {**dict.fromkeys(TASK_IDS, "upstream_failed"), "spark.run_spark": state}
        start = datetime(2026, 11, 25, tzinfo=UTC)
        conf = {"month": month}
        dag_run(
            state,
            {} if state == "queued" else tasks,
            run_id=f"manual__{month}",
            conf=conf,
            start_date=start,
            xcoms=ELSEWHERE,
        )
    dag_run(
        "running",
        {**GREEN, "validation.publish": "running"},
        dag_id="sparkpi_local",
        run_id="manual__now",
        xcoms=ELSEWHERE,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_can_be_read_in_both_schemes(visit, results, complaints, keep_screenshot, name, scheme):
    page = visit(PAGES[name], scheme=scheme)
    keep_screenshot(page, f"{name}-{scheme}")

    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(255, 255, 255)",
            "dark": "rgb(13, 17, 23)",
        }[scheme]
    )
    assert page.evaluate(POOR_CONTRAST) == []
    assert complaints == []


@pytest.mark.parametrize("width", [390, 768, 1600])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_sideways(visit, results, keep_screenshot, name, width):
    page = visit(PAGES[name], width=width)
    keep_screenshot(page, f"{name}-{width}")

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_works_in_the_frame_that_airflow_puts_it_in(visit, results, complaints):
    page = visit("/api/v2/version")
    found = page.evaluate(f"""
        new Promise(done => {{
            const frame = document.createElement("iframe");
            frame.sandbox = "{SANDBOX}";
            frame.src = "{RUN}";
            frame.onload = () => {{
                const inside = frame.contentDocument;
                done([inside.querySelector(".word").textContent,
                      getComputedStyle(inside.querySelector(".stages")).display,
                      inside.querySelectorAll(".chart svg rect").length]);
            }};
            document.body.append(frame);
        }})""")

    assert found[0].startswith("VERIFIED JUST NOW 13/13")
    assert found[1:] == ["grid", 26]
    assert complaints == []


@pytest.mark.parametrize("script", [True, False], ids=["with-our-script", "without-it"])
def test_links_to_other_runs_leave_airflows_frame_or_lead_nowhere(visit, results, script):
    """So that header and page never show two runs: the sandbox of Airflow's frame lets no link out."""
    page = visit("/api/v2/version")
    if not script:
        page.route("**/page.js", lambda route: route.abort())
    page.evaluate(f"""
        new Promise(done => {{
            const frame = document.createElement("iframe");
            frame.sandbox = "{SANDBOX}";
            frame.src = "{PREFIX}/";
            frame.onload = done;
            document.body.append(frame);
        }})""")
    link = page.frames[1].get_by_role("link", name="manual__now")
    if script:
        with page.expect_navigation(url="**/dags/sparkpi_local/runs/manual__now/plugin/enclave-report"):
            link.click()
    else:
        with page.expect_console_message(lambda said: "sandbox" in said.text):
            link.click()
        assert page.frames[1].url.endswith(f"{PREFIX}/")


def test_markup_in_a_published_report_does_not_run(visit, publish, dag_run):
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    checks = [{"name": attack, "severity": "error", "passed": False, "got": attack, "expected": attack}]
    publish(report={**REPORT, "checks": checks})
    dag_run("success", GREEN)
    page = visit(RUN)

    assert page.evaluate("document.title").endswith(f" · {DAG_ID}")
    assert "owned" not in page.evaluate("document.title")
    assert page.evaluate("document.images.length") == 0


@pytest.mark.parametrize("name", PAGES)
def test_headings_tables_and_landmarks_make_sense_without_eyes(visit, results, name):
    page = visit(PAGES[name])

    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("document.querySelectorAll('main').length") == 1
    assert page.evaluate("[...document.querySelectorAll('th')].every(h => h.scope)")
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.querySelector('title'))")
    assert page.evaluate("document.documentElement.lang") == "en"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    labels = page.evaluate(
        "[...document.querySelectorAll('[aria-labelledby]')].map(e => e.getAttribute('aria-labelledby'))"
    )
    assert set(labels) <= set(ids)
