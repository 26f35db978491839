"""Every failure that a run can end with leads to a page that helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confidential_spark.core.failures import FAILURES
from confidential_spark.core.runbooks import CODE, FIRST_COLUMN, HEADING, RUNBOOKS, Runbooks, runbook_of
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.verification.refusals import Refusal

from tests.support.error_codes import error_codes

ROOT = Path(__file__).parents[3]
# What a user starts: the package, `make`, and `make storage`.
SOURCES = ("plugins/confidential_spark", "scripts", "tests/support/azure")


@pytest.fixture(scope="module")
def runbooks() -> Runbooks:
    return Runbooks(ROOT / RUNBOOKS)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param("storage-denied", "storage#storage-denied", id="row-of-the-table"),
        pytest.param("input-template", "spark.resolve_input", id="line-of-a-task-s-table"),
        pytest.param("month-missing", "input#month-missing", id="heading"),
        pytest.param("spark.run_spark", "spark.run_spark", id="task"),
        pytest.param("../README", "", id="path"),
        pytest.param("no-such-thing", "", id="unknown"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_failure_is_found_by_its_name(runbooks, name: str, place: str) -> None:
    assert runbooks.place(name) == place


def test_every_row_of_the_failure_table_leads_to_a_heading(runbooks) -> None:
    def headings(page: str) -> list[str]:
        return [found["text"].strip("`") for found in HEADING.finditer(runbooks.text(page) or "")]

    assert [row.name for row in FAILURES if row.name not in headings(row.page)] == []


@pytest.mark.parametrize("folder", SOURCES)
def test_every_code_that_is_raised_leads_to_a_page(runbooks, folder: str) -> None:
    codes = error_codes(ROOT / folder)
    assert codes
    assert {code: where for code, where in codes.items() if not runbooks.place(code)} == {}


def test_every_reason_for_a_refusal_leads_to_a_page(runbooks) -> None:
    assert [str(code) for code in Refusal if not runbooks.place(code)] == []


def test_no_runbook_explains_a_name_that_nothing_says(runbooks) -> None:
    said = {code for folder in SOURCES for code in error_codes(ROOT / folder)}
    # What is put together, Python's syntax shows; what other programs say stands in quotes.
    for folder in (*SOURCES, "include"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".scala"):
                said.update(re.findall(r'"([a-z0-9-]{3,64})"', path.read_text(encoding="utf-8")))
    explained = {
        (page.stem, name)
        for page in sorted((ROOT / RUNBOOKS).glob("*.md"))
        for name in names_on(runbooks.text(page.stem))
    }
    assert len(explained) > len(Refusal)
    assert [(page, name) for page, name in sorted(explained) if name not in said] == []


def names_on(text: str) -> list[str]:
    """Return what the page explains, by heading or in a table."""
    headings = [found["text"].strip("`") for found in HEADING.finditer(text)]
    rows = [name for row in FIRST_COLUMN.finditer(text) for name in CODE.findall(row["cell"])]
    return [*(name for name in headings if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)), *rows]


def test_every_task_has_a_page(runbooks) -> None:
    assert [task for task in TASK_IDS if runbooks.place(task) != task] == []


def test_what_no_page_knows_leads_to_its_task_and_then_to_the_list() -> None:
    folder = ROOT / RUNBOOKS
    assert runbook_of("no-such-thing", "spark.run_spark", folder) == "docs/runbooks/spark.run_spark.md"
    assert runbook_of("storage-denied", "x", folder) == "docs/runbooks/storage.md#storage-denied"
    assert runbook_of("no-such-thing", "no_such_task", folder) == "docs/runbooks/README.md"


def test_without_the_folder_the_table_still_says_where_to_read(tmp_path) -> None:
    absent = tmp_path / "absent"
    assert runbook_of("storage-denied", "x", absent) == "docs/runbooks/storage.md#storage-denied"
    assert runbook_of("input-template", "spark.resolve_input", absent) == "docs/runbooks/README.md"
