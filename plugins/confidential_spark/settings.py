"""The deployment's constants, read once from `CONFIDENTIAL_SPARK_*` variables.

Addresses and secrets are Airflow connections, one run's choices are Params; everything else is here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform

PROJECT_DIR = Path(__file__).resolve().parents[2]
ENV_PREFIX = "CONFIDENTIAL_SPARK_"


class Settings(BaseSettings):
    """Where things are and how large runs may be; see `docs/reference/settings.md`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    include_dir: Path = Field(
        default=PROJECT_DIR / "include",
        description="Jobs, policies and checks, read by path, never imported.",
    )
    results_dir: Path = Field(
        default=PROJECT_DIR / "var" / "results", description="Published months, one folder per DAG."
    )
    inputs_dir: Path = Field(
        default=PROJECT_DIR / "var" / "inputs", description="Synthetic months made on demand."
    )
    cache_dir: Path = Field(
        default=PROJECT_DIR / "var" / "cache", description="JVM class archives; safe to delete."
    )
    input_uri: str | None = Field(
        default=None,
        description="Location of the trip records, e.g. `file:///data/yellow`, or a template with "
        "`{year}` and `{month}`. Unset: a synthetic month, labelled so.",
    )
    synthetic_rows: Annotated[int, Field(ge=1_000, le=20_000_000)] = Field(
        default=10_000, description="Rows of a synthetic month."
    )
    local_policy: str = Field(
        default="simulation", description="Policy of the `local` platform, by file name."
    )
    dcsv3_policy: str = Field(default="production", description="Policy of the `dcsv3` platform.")
    aks_policy: str = Field(default="production", description="Policy of the `aks` platform.")
    attestation_conn_id: str = Field(
        default="maa_default", description="Connection of the attestation provider. Not used by `local`."
    )
    pccs_url: str = Field(
        default="https://global.acccache.azure.net/sgx/certification/v4/",
        description="Where DCAP collateral comes from (Azure's cache). Not used by `local`.",
    )
    spark_cores: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Cores of one local Spark job."
    )
    spark_memory: str = Field(
        default="2g", description="Memory of one local Spark job: heap, metaspace and Python."
    )
    spark_timeout_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=120, description="A Spark job that runs longer is stopped and fails."
    )

    @property
    def jobs_dir(self) -> Path:
        """Folder of the Spark programs."""
        return self.include_dir / "jobs"

    def policy_path(self, platform: Platform) -> Path:
        """Return the policy file that evidence from ``platform`` must satisfy."""
        name = {
            Platform.LOCAL: self.local_policy,
            Platform.DCSV3: self.dcsv3_policy,
            Platform.AKS: self.aks_policy,
        }[platform]
        return self.include_dir / "policies" / f"{name}.yaml"

    def checks_path(self, job_name: str) -> Path:
        """Return the limits file of a job's result checks."""
        return self.include_dir / "checks" / f"{job_name}.yaml"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the deployment's settings.

    :raises ConfigurationError: ``settings-invalid``, naming each variable that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{ENV_PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        raise ConfigurationError(
            f"The deployment's settings are wrong: {problems}",
            code="settings-invalid",
            action="correct these environment variables; docs/reference/settings.md describes each",
        ) from error
