"""The wheel for auditors: what they verify with and nothing else, and it works without the rest."""

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
from confidential_spark.audit.making.bundle import bundle

from tests.architecture.reach import reached_by_audit, reached_by_verify, reached_by_years
from tests.support.factories.bundles import POLICY, make_bundle
from tests.support.factories.years import PINNED, write_year
from tests.support.published_range import published_range, published_year

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


def test_holds_what_its_three_commands_import_and_nothing_else(wheel: Path) -> None:
    assert set(modules(wheel)) == reached_by_verify() | reached_by_audit() | reached_by_years()
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


BLOCK = """
import sys
class NoAirflow:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("airflow", "azure", "pyarrow", "requests"):
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, NoAirflow())
"""


@pytest.mark.parametrize(
    ("form", "code_of_a_change"),
    [
        pytest.param("folder", "result-digest-mismatch", id="folder"),
        pytest.param("zip", "audit-bundle-malformed", id="zip"),
    ],
)
def test_verify_all_runs_with_the_wheel_alone(
    wheel: Path, tmp_path: Path, form: str, code_of_a_change: str
) -> None:
    """On an auditor's machine: the console script, four libraries, no Airflow, no checkout."""
    deployed = published_range(tmp_path)
    stem = "audit-nytaxi_local-2018-04-to-2018-06"
    bundle_zip = tmp_path / "bundle.zip"
    bundle_zip.write_bytes(b"".join(bundle(deployed.sources(), "2018-04", "2018-06")))
    with zipfile.ZipFile(bundle_zip) as file:
        file.extractall(tmp_path / "unpacked")
    script = tmp_path / "confidential-spark"
    code = BLOCK + RUN.format(wheel=str(wheel), libraries=sysconfig.get_path("platlib"))
    script.write_text(f"#!{sys.executable} -IS\n{code}")
    script.chmod(0o755)
    command = ["sh", str(tmp_path / "unpacked" / stem / "verify-all.sh")]
    if form == "zip":
        command = [str(script), "audit", "verify", str(bundle_zip)]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        given = [*command, *options]
        return subprocess.run(
            given, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True
        )

    policy = str(deployed.include / "policies" / "simulation.yaml")
    done = run("--policy", policy)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 of 3 months VERIFIED · trust: SIMULATED" in done.stdout
    assert run("--trust-bundle").returncode == 0
    assert run().returncode == 2

    changed = tmp_path / "unpacked" / stem / "months" / "2018-05" / "summary.json"
    changed.write_bytes(changed.read_bytes() + b" ")
    bundle_zip.write_bytes(bundle_zip.read_bytes().replace(b"PAR1", b"PAR2", 1))
    done = run("--policy", policy)
    assert done.returncode == 1
    assert code_of_a_change in done.stdout


def test_the_wheel_makes_no_bundles(wheel: Path, tmp_path: Path) -> None:
    code = RUN.format(wheel=str(wheel), libraries=sysconfig.get_path("platlib"))
    command = [sys.executable, "-I", "-S", "-c", code, "audit", "bundle"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'bundle'" in done.stderr


def test_the_wheel_alone_adds_a_year_up_again(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(
        b"".join(bundle(published_year(tmp_path).sources(), "2018-01", "2018-12"))
    )
    code = BLOCK + RUN.format(wheel=str(wheel), libraries=sysconfig.get_path("platlib"))
    command = [sys.executable, "-IS", "-c", code, "audit", "verify", "bundle.zip", "--trust-bundle"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nyear 2018  VERIFIED" in done.stdout
    assert "12 of 12 months VERIFIED · years VERIFIED: 2018 · trust: SIMULATED" in done.stdout


def test_the_wheel_alone_verifies_the_folder_of_a_year(wheel: Path, tmp_path: Path) -> None:
    write_year(tmp_path / "year")
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(PINNED))
    code = BLOCK + RUN.format(wheel=str(wheel), libraries=sysconfig.get_path("platlib"))
    command = [sys.executable, "-IS", "-c", code, "year", "verify", "year", "--policy", "policy.yaml"]

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        given = [*command, *options]
        return subprocess.run(given, cwd=tmp_path, capture_output=True, check=False, text=True)

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(
        "VERIFIED · the sum of its twelve months · trust: SIMULATED"
    )
    assert json.loads(run("--json").stdout)["outcome"] == "verified"
    done = run("--published", "results/nytaxi_local")
    assert (done.returncode, "unrecognized arguments: --published" in done.stderr) == (2, True)
    summary = tmp_path / "year" / "summary.json"
    summary.write_bytes(summary.read_bytes() + b" ")
    assert run().returncode == 1
