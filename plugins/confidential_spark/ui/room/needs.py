"""What needs a person, most urgent first, each with where to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from confidential_spark.ui.results.years.line import YearState
from confidential_spark.ui.room.matrix import ranges
from confidential_spark.ui.views.calendar_view import CellState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from confidential_spark.ui.measurements.faults import Fault
    from confidential_spark.ui.results.years.line import YearLine
    from confidential_spark.ui.room.matrix import Matrix
    from confidential_spark.ui.room.runs import DagFacts, Waiting
    from confidential_spark.ui.views.calendar_view import Cell

IMAGE_DAG, APPROVAL_TASK = "enclave_image", "approve_measurement"
MAX_OF_A_KIND = 6
MAX_RANGES = 8


@dataclass(frozen=True)
class Link:
    """Where to go.

    :param href: relative to the list page.
    :param leaves: whether it is one of Airflow's own pages, outside of the frame.
    """

    label: str
    href: str
    leaves: bool = False


@dataclass(frozen=True)
class Need:
    """One line of the list."""

    sign: str
    tone: str
    what: str
    detail: str
    links: tuple[Link, ...]


def result_link(dag_id: str, key: str, label: str = "Evidence") -> Link:
    """Return the link to a published result's page."""
    return Link(label, f"results/{quote(dag_id, safe='')}/{quote(key, safe='')}")


def run_link(dag_id: str, run_id: str, label: str = "Run") -> Link:
    """Return the link to a run's page within Airflow."""
    place = f"../dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/plugin/enclave-report"
    return Link(label, place, leaves=True)


def airflow_run(dag_id: str, run_id: str) -> str:
    """Return the address of Airflow's own page of a run, relative to the list page."""
    return f"../dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def dag_link(dag_id: str) -> Link:
    """Return the link to Airflow's own page of a DAG."""
    return Link("Open the DAG", f"../dags/{quote(dag_id, safe='')}", leaves=True)


def gaps_link(dag_id: str, first: object, last: object, label: str) -> Link:
    """Return the link to the preview of filling the gaps of a range."""
    return Link(label, f"gaps/{quote(dag_id, safe='')}?first={first}&last={last}")


def needs(
    dag_id: str,
    grid: Matrix | None,
    waiting: Sequence[Waiting],
    reports: Mapping[str, Mapping[str, Any]],
    facts: DagFacts | None,
    *,
    faults: Sequence[Fault] = (),
    codes: Mapping[str, str] | None = None,
) -> tuple[Need, ...]:
    """Return what needs a person.

    :param grid: the DAG's months, and their years; None for a job without months.
    :param reports: the latest report of each platform.
    :param faults: what is wrong with policies and ledgers.
    :param codes: why runs have failed, by run id.
    """
    cells = [cell for year in grid.years for cell in year.cells] if grid else []
    years = [year.line for year in grid.years if year.line] if grid else []
    refused = [cell for cell in cells if cell.line.state is CellState.REFUSED]

    def failed(dag_id: str, cell: Cell) -> Need:
        return _failed(dag_id, cell, (codes or {}).get(cell.line.run_id, ""))

    return (
        *(_fault(each) for each in faults),
        *_limited(dag_id, refused, _refused),
        *_limited(dag_id, failed_cells(grid), failed),
        *_years(years),
        *(_question(each) for each in waiting),
        *(_not_ready(report) for report in reports.values() if is_unready(report)),
        *_paused(dag_id, facts),
        *(_gaps(dag_id, grid) if grid else ()),
    )


def failed_cells(grid: Matrix | None) -> list[Cell]:
    """Return the months whose newest run has failed."""
    cells = (cell for year in grid.years for cell in year.cells) if grid else ()
    return [cell for cell in cells if cell.line.state is CellState.FAILED]


def is_unready(report: Mapping[str, Any]) -> bool:
    """Whether a platform is there and cannot run enclaves."""
    rows = report.get("rows")
    there = (
        any(isinstance(row, dict) and row.get("status") != "NOT HERE" for row in rows)
        if isinstance(rows, list)
        else False
    )
    return report.get("ready") is False and there


def _limited(dag_id: str, cells: Sequence[Cell], need: Callable[[str, Cell], Need]) -> Iterable[Need]:
    shown = [need(dag_id, cell) for cell in cells[:MAX_OF_A_KIND]]
    yield from shown
    if more := len(cells) - len(shown):
        like = shown[0]
        yield Need(
            like.sign, like.tone, f"{more} more like these", "They are marked in the matrix below.", ()
        )


def _fault(fault: Fault) -> Need:
    runbook = Link("Runbook", f"runbooks/{quote(fault.code, safe='')}")
    what = f"{fault.file}: {fault.code}"
    concerned = ", ".join(fault.platforms)
    detail = f"{fault.message} No run of {concerned} is accepted, and no result of it can be verified."
    return Need("⊘", "bad", what, detail, (Link("Measurements", "measurements"), runbook))


def _refused(dag_id: str, cell: Cell) -> Need:
    links = [result_link(dag_id, cell.line.key)] if cell.line.key else []
    if cell.line.run_id:
        links.append(run_link(dag_id, cell.line.run_id))
    if cell.line.refusal:
        links.append(Link("Runbook", f"runbooks/{quote(cell.line.refusal, safe='')}"))
    why = cell.line.words.removeprefix("REFUSED ")
    return Need("⊘", "bad", f"{cell.month} refused", f"{why}. Treat it as an incident.", tuple(links))


def _failed(dag_id: str, cell: Cell, code: str) -> Need:
    links = [run_link(dag_id, cell.line.run_id)] if cell.line.run_id else []
    if code:
        links.append(Link("Runbook", f"runbooks/{quote(code, safe='')}"))
    why = f"{code}: {cell.line.words}" if code else cell.line.words
    return Need("✗", "bad", f"{cell.month} failed", why, tuple(links))


def _years(lines: Sequence[YearLine]) -> Iterable[Need]:
    for state, need in (
        (YearState.REFUSED, _refused_year),
        (YearState.STALE, _stale_year),
        (YearState.FAILED, _failed_year),
    ):
        such = [need(line) for line in lines if line.state is state]
        yield from such[:MAX_OF_A_KIND]
        if more := such[MAX_OF_A_KIND:]:
            what = f"{len(more)} more like these"
            yield Need(more[0].sign, more[0].tone, what, "They are marked in the matrix below.", ())
    if complete := [line for line in lines if line.state is YearState.COMPLETE]:
        named = " ".join(line.year for line in complete)
        what = f"{named} {'has' if len(complete) == 1 else 'have'} twelve months and no sum yet"
        detail = "The next month that is published adds its year up; or trigger the DAG with the year."
        yield Need("…", "idle", what, detail, (dag_link(complete[0].dag_id),))


def _refused_year(line: YearLine) -> Need:
    links = [result_link(line.dag_id, line.key)]
    links += [Link("Runbook", f"runbooks/{quote(line.code, safe='')}")] if line.code else []
    detail = f"{line.words.removeprefix('REFUSED ')}. Treat it as an incident."
    return Need("⊘", "bad", f"The year {line.year} is refused", detail, tuple(links))


def _stale_year(line: YearLine) -> Need:
    detail = (
        f"{line.words}. The month's event makes the year anew; if it stays, is the DAG paused? "
        f"Trigger it with year {line.year}."
    )
    links = (
        result_link(line.dag_id, line.key),
        dag_link(line.dag_id),
        Link("Runbook", "runbooks/nytaxi_year"),
    )
    return Need("≠", "warn", f"The year {line.year} is STALE", detail, links)


def _failed_year(line: YearLine) -> Need:
    links = [Link("Run", airflow_run(line.dag_id, line.run_id), leaves=True)]
    links += [Link("Runbook", f"runbooks/{quote(line.code, safe='')}")] if line.code else []
    return Need("✗", "bad", f"The year {line.year} failed", line.words, tuple(links))


def _question(waiting: Waiting) -> Need:
    place = f"../dags/{quote(waiting.dag_id, safe='')}/runs/{quote(waiting.run_id, safe='')}/required_actions"
    since = f"since {waiting.since:%Y-%m-%d %H:%M} UTC" if waiting.since else ""
    if (waiting.dag_id, waiting.task_id) == (IMAGE_DAG, APPROVAL_TASK):
        link = Link("Review the change", f"measurements/{quote(waiting.run_id, safe='')}")
        return Need("?", "warn", waiting.subject, f"{waiting.dag_id}, {since}", (link,))
    return Need(
        "?", "warn", waiting.subject, f"{waiting.dag_id}, {since}", (Link("Review", place, leaves=True),)
    )


def _not_ready(report: Mapping[str, Any]) -> Need:
    verdict = str(report.get("verdict", ""))[:300]
    link = Link("Platform check", "../dags/platform_check", leaves=True)
    return Need("✗", "bad", f"Platform {str(report.get('platform'))[:40]} is not ready", verdict, (link,))


def _paused(dag_id: str, facts: DagFacts | None) -> Iterable[Need]:
    if facts and facts.is_paused:
        detail = "No month is scheduled, and queued runs wait."
        yield Need("…", "idle", f"{dag_id} is paused", detail, (dag_link(dag_id),))


def _gaps(dag_id: str, grid: Matrix) -> Iterable[Need]:
    if not grid.gaps:
        return
    count, named = len(grid.gaps), ranges(grid.gaps)
    more = " …" if len(named) > MAX_RANGES else ""
    label = f"Fill the gap{'s' if count > 1 else ''} ({count})"
    link = gaps_link(dag_id, grid.gaps[0], grid.gaps[-1], label)
    what = f"{count} gap{'s' if count > 1 else ''}"
    yield Need("○", "idle", what, " ".join(named[:MAX_RANGES]) + more, (link,))
