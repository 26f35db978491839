"""Settings live with their wing; their variables are the deployment's interface and have not changed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.hooks.blob.settings import BlobSettings, blob_settings
from confidential_spark.image_build.settings import ImageSettings, image_settings
from confidential_spark.pipelines.settings import AlertSettings, alert_settings
from confidential_spark.platforms.docker.settings import DockerSettings, docker_settings
from confidential_spark.platforms.kubernetes.settings import KubernetesSettings, kubernetes_settings
from confidential_spark.settings import PROJECT_DIR, DeploymentSettings, Settings, get_settings

from scripts.generate_docs import SETTINGS, settings_page

if TYPE_CHECKING:
    from pathlib import Path

READERS = (get_settings, docker_settings, kubernetes_settings, image_settings, alert_settings)
GROUPS = (Settings, BlobSettings, DockerSettings, KubernetesSettings, ImageSettings, AlertSettings)


@pytest.mark.parametrize(
    ("group", "field", "variable"),
    [
        pytest.param(Settings, "results_dir", "CONFIDENTIAL_SPARK_RESULTS_DIR", id="shared"),
        pytest.param(Settings, "dcsv3_policy", "CONFIDENTIAL_SPARK_DCSV3_POLICY", id="policy"),
        pytest.param(DockerSettings, "memory", "CONFIDENTIAL_SPARK_DCSV3_MEMORY", id="docker"),
        pytest.param(DockerSettings, "conn_id", "CONFIDENTIAL_SPARK_DOCKER_CONN_ID", id="engine"),
        pytest.param(DockerSettings, "azure_conn_id", "CONFIDENTIAL_SPARK_AZURE_CONN_ID", id="azure"),
        pytest.param(
            DockerSettings, "registry_conn_id", "CONFIDENTIAL_SPARK_IMAGE_REGISTRY_CONN_ID", id="registry"
        ),
        pytest.param(KubernetesSettings, "conn_id", "CONFIDENTIAL_SPARK_AKS_CONN_ID", id="kubernetes"),
        pytest.param(ImageSettings, "policy", "CONFIDENTIAL_SPARK_IMAGE_POLICY", id="image"),
        pytest.param(ImageSettings, "source_revision", "CONFIDENTIAL_SPARK_SOURCE_REVISION", id="revision"),
    ],
)
def test_a_variable_is_read(monkeypatch, group: type[DeploymentSettings], field: str, variable: str) -> None:
    assert group.variable(field) == variable
    monkeypatch.setenv(variable, "abcdef0")
    assert str(getattr(group(), field)) == "abcdef0"


@pytest.mark.parametrize(
    ("group", "field"),
    [
        pytest.param(Settings, "results_dir", id="path"),
        pytest.param(BlobSettings, "conn_id", id="connection"),
        pytest.param(KubernetesSettings, "tolerations", id="json"),
    ],
)
def test_an_empty_variable_is_none(monkeypatch, group: type[DeploymentSettings], field: str) -> None:
    monkeypatch.delenv(group.variable(field), raising=False)
    default = getattr(group(), field)
    monkeypatch.setenv(group.variable(field), "")
    assert getattr(group(), field) == default


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        pytest.param("SPARK_CORES", "none", r"CONFIDENTIAL_SPARK_SPARK_CORES: .*got 'none'", id="shared"),
        pytest.param("DCSV3_CORES", "0", r"CONFIDENTIAL_SPARK_DCSV3_CORES: .*got '0'", id="docker"),
        pytest.param("DCSV3_VM", "group", r"CONFIDENTIAL_SPARK_DCSV3_VM: ", id="vm-without-group"),
        pytest.param("DCSV3_VM", "group/vm/disk", r"CONFIDENTIAL_SPARK_DCSV3_VM: ", id="vm-and-more"),
        pytest.param("DCSV3_VM", "a group/vm", r"CONFIDENTIAL_SPARK_DCSV3_VM: ", id="vm-space"),
        pytest.param("SOURCE_REVISION", "main", r"CONFIDENTIAL_SPARK_SOURCE_REVISION: ", id="own-variable"),
        pytest.param(
            "AKS_TOLERATIONS", '[{"key": 1}]', r"CONFIDENTIAL_SPARK_AKS_TOLERATIONS\.0\.key", id="in"
        ),
        pytest.param("AKS_TOLERATIONS", "[{", r"tolerations.*Expecting", id="no-json"),
        pytest.param(
            "ALERT_NOTIFIERS", '[{"notifier": "x"}]', r"ALERT_NOTIFIERS\.0\.notifier", id="notifier"
        ),
    ],
)
def test_a_wrong_variable_is_named(deploy, variable: str, value: str, said: str) -> None:
    deploy(**{variable: value})
    with pytest.raises(ConfigurationError, match=said) as refusal:
        [read() for read in READERS]
    assert refusal.value.code == "settings-invalid"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        pytest.param("BLOB_SUFFIX", "?sp=rl&sig=canary", r"CONFIDENTIAL_SPARK_BLOB_SUFFIX: a SAS", id="sas"),
        pytest.param("BLOB_CONN_ID", "canary" * 14 + "ab==", r"_BLOB_CONN_ID: an account key", id="key"),
        pytest.param("INPUT_URI", "https://a:canary@b/", r"_INPUT_URI: a password", id="password"),
        pytest.param("AKS_TOLERATIONS", '["sig=canary"]', r"_AKS_TOLERATIONS: a SAS", id="json"),
    ],
)
def test_a_credential_is_refused_by_name_and_not_shown(deploy, variable: str, value: str, said: str) -> None:
    deploy(**{variable: value})
    with pytest.raises(ConfigurationError, match=said) as refusal:
        [read() for read in (get_settings, blob_settings, docker_settings, kubernetes_settings)]
    assert refusal.value.code == "settings-credential"
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    "vm",
    [
        pytest.param("group/vm", id="plain"),
        pytest.param("größe_(1).a-b/VM-1", id="all-that-azure-allows"),
        pytest.param(f"{'g' * 90}/{'v' * 64}", id="longest"),
    ],
)
def test_azures_names_of_a_vm_are_taken(deploy, vm: str) -> None:
    deploy(dcsv3_vm=vm)
    assert docker_settings().vm == vm


@pytest.mark.parametrize("group", GROUPS)
def test_no_pattern_counts_letters_of_all_scripts(group: type[DeploymentSettings]) -> None:
    # Pydantic's engine unrolls `\w{1,90}` into its letters of all scripts: 80 ms at each import.
    schema = json.dumps(group.model_json_schema())
    assert not re.search(r"\\\\[wWdDsS]", schema)


def test_the_images_policy_is_its_own(deploy) -> None:
    deploy(dcsv3_policy="simulation-image")
    assert image_settings().policy == "production"
    deploy(image_policy="simulation-image")
    expected = PROJECT_DIR / "include" / "policies" / "simulation-image.yaml"
    assert get_settings().policy_file(image_settings().policy) == expected


def test_the_page_lists_every_group() -> None:
    files = (PROJECT_DIR / "plugins" / "confidential_spark").rglob("settings.py")
    modules = {f"confidential_spark.{_dotted(file)}" for file in files}
    assert {group.__module__ for _, group in SETTINGS} == modules == {group.__module__ for group in GROUPS}
    page = settings_page()
    for group in GROUPS:
        for field in group.model_fields:
            assert f"| `{group.variable(field)}` |" in page


def _dotted(file: Path) -> str:
    relative = file.relative_to(PROJECT_DIR / "plugins" / "confidential_spark").with_suffix("")
    return ".".join(relative.parts)
