"""`docker/helm/values.yaml`: against the chart's own schema, where it is there; and what it cannot know.

The chart is on no package registry. After `helm pull apache-airflow/airflow --version 1.22.0 --untar`,
`AIRFLOW_CHART=airflow make test` checks the values against it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support.places import ROOT

VALUES = ROOT / "docker" / "helm" / "values.yaml"
CHART_VERSION = "1.22"
NO_CHART = (
    "!!! NOT TESTED: the Helm values against the chart's schema: AIRFLOW_CHART names no folder of the chart"
)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(VALUES.read_text())
    return read


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    folder = os.environ.get("AIRFLOW_CHART")
    if not folder:
        pytest.skip(NO_CHART)
    chart = yaml.safe_load((Path(folder) / "Chart.yaml").read_text())
    assert chart["version"].startswith(f"{CHART_VERSION}."), chart["version"]
    read: dict[str, Any] = json.loads((Path(folder) / "values.schema.json").read_text())
    return read


def test_the_chart_accepts_the_values(values, schema) -> None:
    wrong = [f"{list(error.path)}: {error.message}" for error in Draft7Validator(schema).iter_errors(values)]
    assert wrong == []


def test_the_chart_knows_every_key(values, schema) -> None:
    """The schema lets unknown keys pass at its top level, where a misspelt one would be lost."""
    assert set(values) - set(schema["properties"]) == set()


@pytest.fixture(scope="module")
def rendered(schema) -> list[dict[str, Any]]:
    """What Helm makes of chart and values."""
    if (helm := shutil.which("helm")) is None:
        pytest.skip("!!! NOT TESTED: what Helm makes of the values: there is no helm")
    done = subprocess.run(
        [helm, "template", "airflow", os.environ["AIRFLOW_CHART"], "--namespace", "airflow", "-f", VALUES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def test_the_pod_of_a_task_has_the_image_by_digest_and_no_secret(rendered, values) -> None:
    [config] = [each["data"] for each in rendered if each["metadata"]["name"] == "airflow-config"]
    pod = yaml.safe_load(config["pod_template_file.yaml"])
    [container] = pod["spec"]["containers"]

    assert container["image"] == "{repository}@{digest}".format(**values["images"]["airflow"])
    assert [each for each in container["env"] if "valueFrom" in each] == []
    assert {each["name"] for each in values["env"]} < {each["name"] for each in container["env"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }
    assert container["securityContext"] == values["securityContexts"]["containers"]
    assert pod["spec"]["securityContext"] == values["securityContexts"]["pod"]


def test_no_pod_has_a_connection_to_the_database_that_tasks_can_ask_for(rendered) -> None:
    assert "AIRFLOW_CONN_AIRFLOW_DB" not in yaml.safe_dump_all(rendered)


def test_versions_are_those_of_the_lock_file(values) -> None:
    locked = re.search(
        r"^apache-airflow==(\S+)", (ROOT / "docker/airflow/requirements.txt").read_text(), re.M
    )
    assert locked
    assert values["airflowVersion"] == locked[1]


def test_no_secret_is_in_the_values(values) -> None:
    assert values["createUserJob"] == {"enabled": False}
    assert values["data"] == {"metadataSecretName": "airflow-database"}
    assert not {"fernetKey", "apiSecretKey", "jwtSecret", "extraSecrets"} & set(values)
    assert {"fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"} <= set(values)
    assert not re.search(r"password|sig=|AccountKey", json.dumps(values), re.I)


def test_every_pod_has_a_read_only_root_and_no_rights(values) -> None:
    assert values["securityContexts"]["pod"]["runAsUser"] == 50000
    assert values["securityContexts"]["pod"]["runAsNonRoot"] is True
    assert values["securityContexts"]["containers"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in values["volumeMounts"]}
    # The chart itself brings the logs.
    assert mounted == {"/tmp": "tmp", "/home/airflow": "home", "/opt/airflow/var": "var"}  # noqa: S108
    assert {volume["name"] for volume in values["volumes"]} == set(mounted.values())


def test_a_task_gets_no_secret_of_the_deployment(values) -> None:
    template = values["podTemplate"]
    assert "secretKeyRef" not in template
    assert "custom_airflow_environment" not in template
    assert values["enableBuiltInSecretEnvVars"] == {"AIRFLOW_CONN_AIRFLOW_DB": False}
    # Otherwise the executor takes the chart's image, by tag, in place of the template's.
    executor = values["config"]["kubernetes_executor"]
    assert (executor["worker_container_repository"], executor["worker_container_tag"]) == ("", "")


def test_images_are_named_by_digest(values) -> None:
    assert values["images"]["airflow"]["tag"] is None
    assert values["images"]["airflow"]["digest"].startswith("sha256:")
    [enclave] = [each["value"] for each in values["env"] if each["name"] == "CONFIDENTIAL_SPARK_AKS_IMAGE"]
    assert "@sha256:" in enclave


def test_settings_are_settings_of_this_project(values) -> None:
    known = (ROOT / "docs/reference/settings.md").read_text()
    ours = [each["name"] for each in values["env"] if each["name"].startswith("CONFIDENTIAL_SPARK_")]
    assert ours
    for name in ours:
        assert f"`{name}`" in known
