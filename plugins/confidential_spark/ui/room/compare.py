"""Two published results side by side: two months, or one month on two platforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.ui.airflow_runs import JOB_OF, PLATFORMS
from confidential_spark.ui.queries import judge_of
from confidential_spark.ui.room.known_results import verify
from confidential_spark.ui.room.known_state import known_state
from confidential_spark.ui.room.trends import measures
from confidential_spark.ui.views.calendar_view import CellState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from confidential_spark.hooks.index.entry import IndexEntry
    from confidential_spark.ui.results.published import PublishedResults
    from confidential_spark.ui.results.published_state import PublishedState
    from confidential_spark.ui.room.trends import Value


@dataclass(frozen=True)
class Side:
    """One of the two.

    :param entry: what its own files say, or None where they were refused.
    """

    dag_id: str
    key: str
    state: PublishedState
    entry: IndexEntry | None

    @property
    def name(self) -> str:
        """The address's part."""
        return f"{self.dag_id}/{self.key}"


@dataclass(frozen=True)
class Row:
    """One line: a figure, or what the result was made by."""

    label: str
    left: str
    right: str
    change: str
    differs: bool


@dataclass(frozen=True)
class Comparison:
    """The page."""

    left: Side
    right: Side
    figures: tuple[Row, ...]
    origins: tuple[Row, ...]
    choices: tuple[str, ...]


def comparison(
    published: PublishedResults, visible: Collection[str], left: str, right: str
) -> Comparison | None:
    """Verify two results and compare them, or return None where one is not published, or not to be seen.

    :param left: ``DAG_ID/KEY``.
    """
    sides = [side(published, visible, name) for name in (left, right)]
    if sides[0] is None or sides[1] is None:
        return None
    one, other = sides[0], sides[1]
    choices = tuple(
        f"{dag_id}/{key}"
        for dag_id in PLATFORMS
        if dag_id in visible and JOB_OF[dag_id] is JOB_OF[one.dag_id]
        for key in published.listed(dag_id)
    )
    return Comparison(one, other, figures(one, other), origins(one, other), choices)


def side(published: PublishedResults, visible: Collection[str], name: str) -> Side | None:
    """Return one result, verified now unless it is known and unchanged."""
    dag_id, _, key = name.partition("/")
    if dag_id not in PLATFORMS or dag_id not in visible:
        return None
    result = published.listed(dag_id).get(key)
    if result is None:
        return None
    published.provide(dag_id, result)
    known = verify(judge_of(dag_id), result)
    state = known_state(dag_id, known)
    return Side(dag_id, key, state, None if state.state is CellState.REFUSED else known.entry)


def figures(left: Side, right: Side) -> tuple[Row, ...]:
    """Return the figures that either has; none of a refused result."""
    rows = []
    for measure in measures(JOB_OF[left.dag_id]):
        one = measure.of(left.entry) if left.entry else None
        other = measure.of(right.entry) if right.entry else None
        if one is not None or other is not None:
            first, second = ("–" if value is None else measure.show(value) for value in (one, other))
            rows.append(Row(measure.title, first, second, change(one, other, measure.show), one != other))
    return tuple(rows)


def change(left: Value | None, right: Value | None, show: Callable[[Value], str]) -> str:
    """Return how the second differs from the first, absolutely and in percent."""
    if left is None or right is None:
        return ""
    if left == right:
        return "equal"
    more = right - left
    sign = "+" if more > 0 else "−"
    share = f" ({more / abs(left):+.1%})".replace("-", "−") if left else ""
    return f"{sign}{show(abs(more))}{share}"


def origins(left: Side, right: Side) -> tuple[Row, ...]:
    """Return what the results were made by and from, as their own files say."""
    parts: dict[str, Callable[[IndexEntry], str]] = {
        "Version": lambda entry: entry.version,
        "Signed": lambda entry: f"{entry.signed_at:%Y-%m-%d %H:%M:%S} UTC" if entry.signed_at else "",
        "Run": lambda entry: entry.run_id,
        "Job file SHA-256": lambda entry: entry.executed,
        "MRENCLAVE": lambda entry: entry.mrenclave,
        "Policy": lambda entry: entry.policy,
        "Input": lambda entry: entry.input.uri if entry.input else "",
        "Input files SHA-256": lambda entry: entry.input.files_sha256 if entry.input else "",
        "Synthetic input": lambda entry: "yes" if entry.synthetic else "no",
        "Checks that warned": lambda entry: ", ".join(entry.warned),
    }
    rows = []
    for label, part in parts.items():
        one, other = (part(each.entry) if each.entry else "" for each in (left, right))
        if one or other:
            same = one == other
            rows.append(Row(label, one or "–", other or "–", "equal" if same else "differs", not same))
    return tuple(rows)
