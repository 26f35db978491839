"""What OpenLineage is told, in its client's own classes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from confidential_spark.core.platforms import Platform
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.jobs.rollup.rollup import ROLLUPS
from confidential_spark.operators.outcomes.lineage import dataset_name, folders_of, lineage
from confidential_spark.operators.publish import PublishOperator
from confidential_spark.pipelines.year_operators import PublishYearOperator
from confidential_spark.platforms import operators_of
from openlineage.client.event_v2 import InputDataset, OutputDataset

FACTS = {
    "inputs": [{"uri": f"file:///data/puMonth=5/part-{n}.parquet"} for n in range(3)],
    "mrenclave": "ab" * 32,
    "image_digest": None,
    "job_file_sha256": "cd" * 32,
}


@dataclass
class Lineage:
    """Stands for the provider's class of the same members, where the provider is not installed."""

    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    run_facets: dict[str, Any] = field(default_factory=dict)
    job_facets: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def provider(monkeypatch) -> None:
    if find_spec("airflow.providers.openlineage") is None:
        package, module = (ModuleType(f"airflow.providers.openlineage{name}") for name in ("", ".extractors"))
        module.OperatorLineage = Lineage
        for each in (package, module):
            monkeypatch.setitem(sys.modules, each.__name__, each)


@pytest.mark.parametrize(
    ("location", "namespace", "name"),
    [
        pytest.param("file:///data/yellow/", "file", "/data/yellow", id="file-uri"),
        pytest.param(
            "/results/nytaxi_local/month=2018-05", "file", "/results/nytaxi_local/month=2018-05", id="path"
        ),
        pytest.param(
            "https://acct.blob.core.windows.net/trips/yellow/2018",
            *("wasbs://trips@acct.blob.core.windows.net", "yellow/2018"),
            id="https-blob",
        ),
        pytest.param(
            "wasbs://trips@acct.blob.core.windows.net/yellow",
            *("wasbs://trips@acct.blob.core.windows.net", "yellow"),
            id="wasbs",
        ),
        pytest.param(
            "abfss://trips@acct.dfs.core.windows.net/yellow",
            *("abfss://trips@acct.dfs.core.windows.net", "yellow"),
            id="abfss",
        ),
        pytest.param("http://127.0.0.1:1/acct/trips", "http://127.0.0.1:1", "acct/trips", id="emulator"),
    ],
)
def test_locations_have_the_names_of_openlineage_s_conventions(location, namespace, name) -> None:
    assert dataset_name(location) == (namespace, name)


def test_files_are_told_by_their_folder_once() -> None:
    assert folders_of(FACTS["inputs"]) == ["file:///data/puMonth=5"]
    assert folders_of(None) == []


def test_a_published_month_is_told_with_what_its_evidence_proves() -> None:
    task = PublishOperator(
        task_id="publish",
        job=NYTAXI,
        platform=Platform.LOCAL,
        run_result={},
        verification={"trust": "simulated", "facts": FACTS},
    )
    task.published_as = ("/results/nytaxi_local/month=2018-05", "run.try1")
    told = task.get_openlineage_facets_on_complete(SimpleNamespace())
    assert told.inputs == [InputDataset("file", "/data/puMonth=5")]
    (output,) = told.outputs
    assert isinstance(output, OutputDataset)
    assert (output.namespace, output.name) == ("file", "/results/nytaxi_local/month=2018-05")
    assert output.facets["version"].datasetVersion == "run.try1"
    assert {tag.key: (tag.value, tag.source) for tag in told.run_facets["tags"].tags} == {
        "trust": ("simulated", "confidential-spark"),
        "mrenclave": ("ab" * 32, "confidential-spark"),
        "job_file_sha256": ("cd" * 32, "confidential-spark"),
    }


def test_a_year_is_told_with_its_twelve_months(deploy) -> None:
    deploy(results_dir="/results")
    task = PublishYearOperator(task_id="publish_year", rollup=ROLLUPS["nytaxi"], platform=Platform.LOCAL)
    task.published_as = ("2018", "run.try1")
    told = task.get_openlineage_facets_on_complete(SimpleNamespace())
    assert [each.name for each in told.inputs] == [
        f"/results/nytaxi_local/month=2018-{number:02d}" for number in range(1, 13)
    ]
    assert [each.name for each in told.outputs] == ["/results/nytaxi_year_local/year=2018"]


@pytest.mark.parametrize("platform", Platform, ids=str)
@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        pytest.param({"uri": "file:///data/yellow"}, ["/data/yellow"], id="month"),
        pytest.param(None, [], id="job-without-input"),
    ],
)
def test_a_run_is_told_with_its_input_on_every_platform(platform, manifest, names) -> None:
    kind = operators_of(platform).run_spark
    task = kind(task_id="run_spark", job=NYTAXI, platform=platform, image={}, manifest=manifest)
    told = task.get_openlineage_facets_on_complete(SimpleNamespace())
    assert ([each.name for each in told.inputs], told.outputs) == (names, [])


def test_nothing_is_told_of_nothing() -> None:
    assert (lineage().inputs, lineage().outputs, lineage().run_facets) == ([], [], {})
