"""`docs/add-a-job.md` followed word by word, in a copy of the project: its files, its entry, its commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.spark
PAGE = (ROOT / "docs" / "add-a-job.md").read_text(encoding="utf-8")
COPIED = ("plugins", "dags", "include", "scripts", "tests", "docs", "docker")
FILES = ("Makefile", "pyproject.toml", "requirements.txt", "airflow_settings.yaml")
BLOCK = r"\*\*`(?P<path>[^`]+)`\*\*[^`]*\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```$"


def blocks() -> dict[str, tuple[str, str]]:
    """Return path → kind and text of each code block that the page names."""
    found = re.finditer(BLOCK, PAGE, re.MULTILINE | re.DOTALL)
    return {block["path"]: (block["kind"], block["text"]) for block in found}


def patched(content: str, diff: str) -> str:
    """Insert each added line after the line that stands above it in the diff."""
    above = ""
    for line in diff.splitlines():
        if line.startswith("+"):
            assert content.count(f"{above}\n") == 1, above
            content = content.replace(f"{above}\n", f"{above}\n{line[1:]}\n")
        above = line[1:]
    return content


def commands() -> list[str]:
    """Return what the page has the reader type."""
    (console,) = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [command.strip() for command in re.split(r"^\$ ", console, flags=re.MULTILINE) if command]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the page's job, on this environment's packages."""
    copy = tmp_path_factory.mktemp("walk")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    (copy / ".venv").symlink_to(sys.prefix)
    for path, (kind, text) in blocks().items():
        target = copy / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(patched(target.read_text(), text) if kind == "diff" else text)
    return copy


@pytest.fixture
def do(project):
    """Run a command line in the copy; nothing of this session's Airflow is left in its environment."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CONF", "MAKE"))
    }
    # make takes its variables from here: it installs nothing, and knows this environment by its own path.
    own |= {"MAKEFLAGS": "e", "PYTHON": "true", "BIN": str(Path(sys.prefix) / "bin")}
    own |= {"PYTHONPATH": str(project / "plugins")}
    own["CONFIDENTIAL_SPARK_CACHE_DIR"] = os.environ["CONFIDENTIAL_SPARK_CACHE_DIR"]

    def do(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=project, env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return do


def test_the_page_has_the_five_files_and_the_entry():
    assert sorted(blocks()) == [
        "dags/nytaxi_passengers.py",
        "include/checks/nytaxi_passengers.yaml",
        "include/jobs/nytaxi_passengers.py",
        "plugins/confidential_spark/jobs/__init__.py",
        "plugins/confidential_spark/jobs/nytaxi_passengers/__init__.py",
        "plugins/confidential_spark/jobs/nytaxi_passengers/checks.py",
    ]


def test_its_files_are_as_neat_as_the_projects_own(project, do):
    files = " ".join(path for path in blocks() if path.endswith(".py"))
    do(f".venv/bin/ruff format --check {files} && .venv/bin/ruff check {files}")


def test_the_rules_for_every_job_hold_for_it(do):
    tests = "tests/dags/test_rules.py tests/unit/jobs/test_job.py tests/unit/jobs/checks/test_limits.py"
    assert " passed" in do(f".venv/bin/python -m pytest -q {tests} -k nytaxi_passengers")


def test_its_month_is_published_and_verified(project, do):
    outputs = [do(command) for command in commands()]
    assert "-- query passengers, at most 1000 rows\nSELECT\n  accepted,\n" in outputs[0]
    assert "now also allows" in outputs[1]
    assert re.search(r"Checks  (\d+) of \1 passed$", outputs[2], re.MULTILINE)
    assert "VERIFIED" in outputs[3]
    published = project / "var" / "results" / "nytaxi_passengers_local" / "month=2018-05"
    report = json.loads((published / "report.json").read_text())
    assert report["figures"]["trips"] > 9_000
    assert report["figures"]["passengers"] > report["figures"]["trips"]
