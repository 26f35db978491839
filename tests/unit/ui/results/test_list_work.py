"""What a list costs, counted in looks at the file system: no clock decides, and no machine is too slow."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confidential_spark.ui.queries import judge_of, state_of
from confidential_spark.ui.results.published import Published

from tests.unit.ui.conftest import DAG_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOKS = ("scandir", "listdir", "stat", "lstat", "readlink", "open")
FOREVER = float("inf")


def looks_of(action: Callable[[], object]) -> Counter[str]:
    """Count the looks at the file system: by path through ``os``, and at entries of a listed folder."""
    counts: Counter[str] = Counter()
    counted = {getattr(os, name): name for name in LOOKS}

    def count(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and isinstance(getattr(argument, "__self__", None), os.DirEntry):
            counts["entry"] += argument.__name__ in ("stat", "is_dir")
        elif event == "c_call" and argument.__module__ == "posix" and argument in counted:
            counts[counted[argument]] += 1

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return counts


def show(root: Path) -> None:
    """Ask for what the list page asks for, of one DAG."""
    published, judge = Published(root), judge_of(DAG_ID)
    results = [published.result(DAG_ID, key) for key in published.keys(DAG_ID)]
    assert all(state_of(judge, result, FOREVER).trust for result in results if result)


@pytest.fixture
def year(publish: Callable[..., Path], tmp_path: Path) -> Callable[[int], None]:
    """Publish a year, and show everything once, so that it is verified."""

    def year(number: int) -> None:
        for month in range(1, 13):
            publish(key=f"month={number}-{month:02}")
        show(tmp_path)

    return year


def test_each_further_result_costs_a_list_its_own_files_and_nothing_else(year, tmp_path):
    year(2010)
    few = looks_of(lambda: show(tmp_path))
    year(2011)
    many = looks_of(lambda: show(tmp_path))

    files = len(["summary", "by_hour", "by_payment_type", "evidence", "report", "envelope"])
    per_result = {name: (many[name] - few[name]) / 12 for name in many.keys() | few.keys()}
    assert {name: looks for name, looks in per_result.items() if looks} == {
        "readlink": 1,  # which version readers see
        "scandir": 1,  # the version's folder
        "entry": files,  # each one's size and times
    }
