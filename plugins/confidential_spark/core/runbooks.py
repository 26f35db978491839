"""Which runbook is about a failure: by its code, else by its task.

A page of `docs/runbooks` is about a code that is one of its headings, or is in the first column of a table.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.core.failures import failure_named

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOKS = "docs/runbooks"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
HEADING = re.compile(r"^#{1,4} +(?P<text>.+?) *$", re.MULTILINE)
FIRST_COLUMN = re.compile(r"^\| *(?P<cell>(?:[^|\\]|\\.)*)\|", re.MULTILINE)
CODE = re.compile(r"`([a-z0-9-]{3,64})`")


class Runbooks:
    """The pages of one folder, read when they are first needed.

    :param folder: `docs/runbooks` of the project; it may be absent, as where only the wheel is installed.
    """

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self._folder = folder

    def text(self, page: str) -> str | None:
        """Return a page's Markdown; None when there is no such page.

        :param page: its name without the ending; any text.
        """
        return self._pages.get(page)

    def place(self, name: str) -> str:
        """Return where a failure's code or a task's id is explained, ``PAGE`` or ``PAGE#HEADING``; or empty.

        :param name: any text.
        """
        row = failure_named(name)
        if row is not None:
            return f"{row.page}#{row.name}"
        return name if name in self._pages else self._places.get(name, "")

    @cached_property
    def _pages(self) -> dict[str, str]:
        paths = sorted(self._folder.glob("*.md")) if self._folder.is_dir() else []
        return {path.stem: path.read_text(encoding="utf-8") for path in paths if NAME.fullmatch(path.stem)}

    @cached_property
    def _places(self) -> dict[str, str]:
        places: dict[str, str] = {}
        for page, text in self._pages.items():
            for heading in HEADING.finditer(text):
                places.setdefault(heading["text"].strip("`"), f"{page}#{heading['text'].strip('`')}")
        for page, text in self._pages.items():
            for row in FIRST_COLUMN.finditer(text):
                for code in CODE.findall(row["cell"]):
                    places.setdefault(code, page)
        return places


def runbook_of(code: str, task_id: str, folder: Path) -> str:
    """Return the page to read about a failure, relative to the repository's root.

    :param code: the failure's name; where no page knows it, the task's own page is named.
    """
    runbooks = Runbooks(folder)
    page, _, heading = (runbooks.place(code) or runbooks.place(task_id) or "README").partition("#")
    return f"{RUNBOOKS}/{page}.md" + (f"#{heading}" if heading else "")
