"""Months that a deployment has published, which verify, in any store of results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import yaml
from confidential_spark.agent.protocol import canonical_json
from confidential_spark.audit.making.bundle import Sources
from confidential_spark.hooks.results.folder_store import FolderStore

from tests.support.factories import years
from tests.support.places import ROOT
from tests.unit.ui.conftest import (
    DAG_ID,
    POLICY_FILE,
    PROGRAM,
    SUMMARY,
    signed,
    with_checks,
    with_identity,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from confidential_spark.hooks.results.store import ResultStore

YEARS_DAG_ID = "nytaxi_year_local"
DEVELOPMENT_ROOT = "roots/development-root-ca.pem"
RUN = "manual__2018-06-01T00:00:00+00:00"


def month_files(
    month: str, *, trips: int = 1, run_id: str = RUN, dag_id: str = DAG_ID, **more: bytes
) -> dict[str, bytes]:
    """Return the files of a month, by name.

    :param more: result files besides the usual ones, with ``__`` for a slash.
    """
    results = {
        "summary.json": json.dumps({**SUMMARY, "month": month, "trips": trips}).encode(),
        "by_hour.parquet": b"PAR1" + bytes([trips]) * 3000 + b"PAR1",
        **{name.replace("__", "/"): content for name, content in more.items()},
    }
    digests = tuple(sorted((name, sha256(content).hexdigest()) for name, content in results.items()))
    evidence = signed(dag_id, month, run_id, digests)
    report = with_identity(with_checks(), dag_id, month, run_id)
    return {
        **results,
        "evidence.json": evidence,
        "envelope.json": canonical_json(json.loads(evidence)["envelope"]),
        "report.json": json.dumps(report).encode(),
    }


def publish(store: ResultStore, month: str, files: Mapping[str, bytes]) -> Any:
    """Publish the files as a month's next version."""
    key = f"month={month}"
    staging = store.stage(key, f"{month}.1")
    with store.hold(staging) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return store.publish(staging).version


@dataclass(frozen=True)
class Range:
    """A deployment that has published some months of a range."""

    store: ResultStore
    include: Path

    @property
    def years(self) -> ResultStore:
        """The store of the months' sums."""
        return FolderStore(self.include.parent / "results", YEARS_DAG_ID)

    def sources(self, **changes: Any) -> Sources:
        """Return what its bundles are made of."""
        given = {
            "job": "nytaxi",
            "platform": "local",
            "policy": self.include / "policies" / "simulation.yaml",
            "job_files": [self.include / "jobs" / "nytaxi.py"],
            "published": lambda month: self.store.current(f"month={month}"),
            "years": lambda year: self.years.current(f"year={year}"),
        }
        return Sources(**(given | changes))


def include_folder(folder: Path) -> Path:
    """Make the folder of what a deployment judges by, and runs; its policy accepts these months."""
    for name in ("policies/roots", "jobs"):
        (folder / name).mkdir(parents=True)
    (folder / "jobs" / "nytaxi.py").write_bytes(PROGRAM)
    root = (ROOT / "include/policies" / DEVELOPMENT_ROOT).read_bytes()
    (folder / "policies" / DEVELOPMENT_ROOT).write_bytes(root)
    policy = {**POLICY_FILE, "dcap": {**POLICY_FILE["dcap"], "roots": [DEVELOPMENT_ROOT]}}
    (folder / "policies" / "simulation.yaml").write_text(yaml.safe_dump(policy))
    return folder


def published_year(folder: Path) -> Range:
    """Return a deployment in a folder that has published the months of 2018, and the year that they are."""
    deployed = Range(FolderStore(folder / "results", DAG_ID), include_folder(folder / "include"))
    for month in years.MONTHS:
        publish(deployed.store, month, years.month_files(month))
    store = deployed.years
    staging = store.stage("year=2018", "2018.1")
    with store.hold(staging) as private:
        years.write_year(private)
    store.publish(staging)
    return deployed


def published_range(folder: Path, months: Sequence[str] = ("2018-04", "2018-05", "2018-06")) -> Range:
    """Return a deployment in a folder that has published these months."""
    store = FolderStore(folder / "results", DAG_ID)
    for number, month in enumerate(months):
        publish(store, month, month_files(month, trips=number))
    return Range(store, include_folder(folder / "include"))
