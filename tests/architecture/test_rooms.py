"""The package's folders stay small enough to read, and no module hides one of Python's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = ROOT / "plugins" / "confidential_spark"
MOST_ENTRIES = 13
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
TEMPLATES = sorted({path.parent for path in PACKAGE.rglob("*.html")})


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


@pytest.mark.parametrize(
    "room",
    [room for room in [*ROOMS, *TEMPLATES] if room != PACKAGE],
    ids=lambda room: str(room.relative_to(PACKAGE)),
)
def test_a_room_has_few_entries(room: Path) -> None:
    assert len(entries(room)) <= MOST_ENTRIES, entries(room)


def test_no_module_has_the_name_of_one_of_pythons_own() -> None:
    """Python started in a folder with a `token.py` would import that one instead of its own."""
    named = {path.stem: path for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")}
    assert sorted(named.keys() & sys.stdlib_module_names) == []


def test_every_folder_with_modules_is_a_package() -> None:
    assert {path.parent for path in PACKAGE.rglob("*.py")} == set(ROOMS)
