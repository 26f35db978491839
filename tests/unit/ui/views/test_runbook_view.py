"""Runbooks in Airflow: found by failure and by task, with links that work and nothing foreign in them."""

from __future__ import annotations

import re

import pytest
from confidential_spark.core.runbooks import RUNBOOKS, Runbooks
from confidential_spark.ui.views.runbook_view import heading_id, runbook_page

from tests.support.places import ROOT

PAGES = sorted(path.stem for path in (ROOT / RUNBOOKS).glob("*.md"))
LINK = re.compile(r'href="([^"]*)"')


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_runbook_leads_somewhere(name: str) -> None:
    runbooks = Runbooks(ROOT / RUNBOOKS)
    page = runbook_page(runbooks, name)
    for address in LINK.findall(page.html):
        target, _, heading = address.partition("#")
        linked = runbook_page(runbooks, target or name)
        assert linked is not None, address
        assert not heading or f'id="{heading}"' in linked.html, address


@pytest.mark.parametrize("name", PAGES)
def test_every_heading_has_an_id_of_its_own_without_spaces(name: str) -> None:
    found = re.findall(r'<h[1-6] id="([^"]*)"', runbook_page(Runbooks(ROOT / RUNBOOKS), name).html)
    assert found
    assert len(found) == len(set(found))
    assert not any(re.search(r"\s", each) for each in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("`storage-denied`", "storage-denied", id="code"),
        pytest.param("image.resolve_image", "image.resolve_image", id="task"),
        pytest.param("Address and keys", "address-and-keys", id="words"),
        pytest.param("By the code in the enclave's log", "by-the-code-in-the-enclaves-log", id="apostrophe"),
        pytest.param("`architecture`, `memory`", "architecture-memory", id="several-codes"),
    ],
)
def test_a_heading_is_addressed_as_on_github(text: str, expected: str) -> None:
    assert heading_id(text) == expected


def test_equal_headings_are_told_apart(tmp_path) -> None:
    (tmp_path / "a.md").write_text("# Two words\n\n## Two words\n\n[down](#two-words-1)\n")
    page = runbook_page(Runbooks(tmp_path), "a")
    assert re.findall(r' id="([^"]*)"', page.html) == ["two-words", "two-words-1"]


def test_html_in_a_runbook_is_text_and_other_documents_are_names(tmp_path) -> None:
    text = "# A <b>\n\n<script>alert(1)</script> [x](javascript:alert(1)) [doc](../azure.md) [b](b.md#c)\n"
    (tmp_path / "a.md").write_text(text)
    (tmp_path / "b.md").write_text("## c\n")
    page = runbook_page(Runbooks(tmp_path), "a")
    assert "<script" not in page.html
    assert LINK.findall(page.html) == ["b#c"]
    assert "doc" in page.html
    assert page.title == "A <b>"


def test_a_code_leads_to_its_page_and_a_page_is_shown(browse) -> None:
    moved = browse().get("/runbooks/storage-denied")
    assert (moved.status_code, moved.headers["location"]) == (307, "storage#storage-denied")
    page = browse().get("/runbooks/storage")
    assert page.status_code == 200
    assert '<h2 id="storage-denied">' in page.text


@pytest.mark.parametrize("name", ["no-such", "..%2F..%2FREADME", "%00", "a" * 200])
def test_what_is_no_runbook_is_not_found(browse, name: str) -> None:
    assert browse().get(f"/runbooks/{name}").status_code in (404, 422)


def test_strangers_see_no_runbook(browse) -> None:
    assert browse(None).get("/runbooks/storage").status_code == 401
