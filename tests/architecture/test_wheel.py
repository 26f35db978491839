"""The wheel for auditors: what `verify` imports and nothing else, and it works without the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import BytesParser
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.architecture.reach import reached_by_verify
from tests.support.factories.bundles import POLICY, make_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import runpy, sys
sys.path[:0] = [{wheel!r}, {libraries!r}]
sys.argv[0] = "confidential-spark"
runpy.run_module("confidential_spark", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as `pip install .` does, without pip's isolation, which would fetch the builder."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def modules(wheel: Path) -> Iterator[str]:
    for name in zipfile.ZipFile(wheel).namelist():
        if name.endswith(".py"):
            yield name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_holds_what_verify_imports_and_nothing_else(wheel: Path) -> None:
    assert set(modules(wheel)) == reached_by_verify()
    others = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith(".py")}
    assert {name for name in others if ".dist-info/" not in name} == {"confidential_spark/py.typed"}


def test_needs_four_libraries_and_registers_nothing_with_airflow(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = [name for name in file.namelist() if name.endswith("/METADATA")]
        needed = BytesParser().parsebytes(file.read(metadata)).get_all("Requires-Dist")
        registered = file.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert {name.partition(">")[0] for name in needed or []} == {
        "cryptography",
        "dcap-qvl",
        "pydantic",
        "pyyaml",
    }
    assert registered.splitlines() == [
        "[console_scripts]",
        "confidential-spark = confidential_spark.__main__:main",
    ]


def test_in_development_airflow_finds_the_provider() -> None:
    found = {entry.value for entry in entry_points(group="apache_airflow_provider")}
    assert "confidential_spark.provider_info:get_provider_info" in found


def test_verifies_without_this_repository(wheel: Path, tmp_path: Path) -> None:
    bundle = make_bundle()
    for name, content in {**bundle.results, "evidence.json": bundle.evidence}.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (tmp_path / "jwks.json").write_text(json.dumps(bundle.jwks))
    # Isolated and without site: neither this folder nor the editable installation is on the path.
    code = RUN.format(wheel=str(wheel), libraries=sysconfig.get_path("platlib"))
    options = ["--policy", "policy.yaml", "--jwks", "jwks.json", "--at", "2026-11-23T10:01:00Z"]
    command = [sys.executable, "-I", "-S", "-c", code, "verify", "run/evidence.json", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "VERIFIED" in done.stdout
