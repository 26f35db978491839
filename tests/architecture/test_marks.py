"""What `make test` leaves to other targets is in the folders that these collect, so no test is dropped."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def command(target: str) -> str:
    """Return the line in which a target runs pytest."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None, f"there is no `make {target}`"
    (line,) = (line for line in recipe[1].splitlines() if "pytest" in line)
    return line


def left_to_others() -> list[str]:
    return re.findall(r"not (\w+)", command("test"))


@cache
def marks(file: Path) -> frozenset[str]:
    """Return the marks that a file has in its source, whether it sets them on itself or on other tests."""
    text = file.read_text(encoding="utf-8")
    if "mark" not in text:
        return frozenset()
    return frozenset(
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("mark", "pytest.mark")
    )


def test_marks_are_left_to_others() -> None:
    assert {"docker", "scheduler"} <= set(left_to_others())


@pytest.mark.parametrize("mark", left_to_others())
def test_a_mark_stays_in_the_folders_of_its_target(mark: str) -> None:
    line = command(f"test-{mark}")
    folders = [ROOT / name for name in re.findall(r"\btests/\w+\b(?!\.)", line)]
    marked = {file for file in (ROOT / "tests").rglob("*.py") if mark in marks(file)}
    assert marked
    assert {file for file in marked if not any(folder in file.parents for folder in folders)} == set()
    assert re.findall(r"-m '?([\w ]+?)'?(?: |$)", line.partition("pytest")[2]) in ([], [mark])
