"""What make hands to the programs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def handed_on(folder: Path, *words: str, **variables: str) -> str:
    """Return INPUT as a program gets it."""
    (folder / "show.mk").write_text("show: ; @printenv INPUT\n")
    done = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", str(folder / "show.mk"), "show", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("variable", [pytest.param(True, id="environment"), pytest.param(False, id="word")])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("$(shell touch {folder}/ran)", id="make"),
        pytest.param("`touch {folder}/ran`", id="shell"),
        pytest.param("$$(touch {folder}/ran); ${HOME}", id="both"),
        pytest.param("/data/with space/$year/#1", id="path"),
    ],
)
def test_values_are_handed_on_as_they_were_written(tmp_path: Path, value: str, variable: bool) -> None:
    value = value.replace("{folder}", str(tmp_path))
    if variable:
        assert handed_on(tmp_path, INPUT=value) == value
    else:
        assert handed_on(tmp_path, f"INPUT={value}") == value
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "variables", "brings_up"),
    [
        pytest.param(["PLATFORM=aks"], {}, True, id="nothing-configured"),
        pytest.param(["PLATFORM=aks"], {"CONFIDENTIAL_SPARK_AKS_WORK": "wasbs://w@a/x"}, False, id="storage"),
        pytest.param(["PLATFORM=dcsv3"], {}, False, id="other-platform"),
        pytest.param([], {}, False, id="local"),
    ],
)
def test_an_emulator_comes_up_for_aks_alone(
    words: list[str], variables: dict[str, str], brings_up: bool
) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "run", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("tests.kubernetes.simulated_run" in done.stdout) is brings_up
    assert "scripts.run_month" in done.stdout
