"""The Airflow image's lock file: the versions that the tests run with, each with a hash."""

from __future__ import annotations

import re

from tests.support.places import ROOT

AIRFLOW = ROOT / "docker" / "airflow"
# What users and roles (the FAB provider) need in another version.
DIFFERENT = {"python-dateutil"}
PINNED = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.M)


def versions(name: str) -> dict[str, set[str]]:
    """Return the versions of each package: several, where they depend on the platform."""
    found: dict[str, set[str]] = {}
    for package, version in PINNED.findall((ROOT / name).read_text()):
        found.setdefault(package, set()).add(version)
    return found


def test_it_has_what_the_project_is_tested_with() -> None:
    tested, installed = versions("requirements.txt"), versions("docker/airflow/requirements.txt")
    different = {name for name, pinned in tested.items() if installed.get(name) != pinned}
    assert different == DIFFERENT


def test_every_requirement_has_a_hash() -> None:
    for name in ("requirements.txt", "tools.txt"):
        entries = re.split(r"^(?=[a-z0-9])", (AIRFLOW / name).read_text(), flags=re.M)
        named = [entry for entry in entries if PINNED.match(entry)]
        assert named
        assert [entry for entry in named if "--hash=sha256:" not in entry] == []
