"""Runbooks as pages, from their Markdown; what is no runbook stays a name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

    from confidential_spark.core.runbooks import Runbooks

INDEX = "README"


@dataclass(frozen=True)
class RunbookPage:
    """One runbook.

    :param title: its first heading.
    :param html: its text; HTML that the Markdown contains is shown as text.
    """

    name: str
    title: str
    html: Markup


def runbook_page(runbooks: Runbooks, name: str) -> RunbookPage | None:
    """Return a runbook's page; None when there is no such runbook.

    :param name: any text.
    """
    text = runbooks.text(name)
    if text is None:
        return None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = _name_headings(tokens) or name
    _keep_links_inside(tokens, runbooks)
    # Markdown of this project's own, from which no HTML is taken over.
    return RunbookPage(name, title, Markup(parser.renderer.render(tokens, parser.options, {})))  # noqa: S704


def _name_headings(tokens: Sequence[Token]) -> str:
    """Let links lead to headings, and return the first one's text."""
    title, seen = "", Counter[str]()
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            title = title or content.content
            name = heading_id(content.content)
            opening.attrSet("id", f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return title


def heading_id(text: str) -> str:
    """Return what links call a heading: a failure's code or a task's id as it is, words as on GitHub."""
    name = text.strip("`")
    if not re.search(r"\s", name):
        return name
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", name.lower()))


def _keep_links_inside(tokens: Sequence[Token], runbooks: Runbooks) -> None:
    """Let links lead to runbooks and headings only: other documents are not served here."""
    for token in tokens:
        inside = True
        for child in token.children or ():
            if child.type == "link_open":
                page, hash_, heading = str(child.attrGet("href")).partition("#")
                inside = not page or runbooks.text(page.removesuffix(".md")) is not None
                child.attrSet("href", page.removesuffix(".md") + hash_ + heading)
            if child.type in ("link_open", "link_close") and not inside:
                child.type, child.tag, child.attrs = "text", "", {}
                child.content, child.nesting = "", 0
