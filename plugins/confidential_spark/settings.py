"""The deployment's constants, read once from `CONFIDENTIAL_SPARK_*` variables.

Addresses and secrets are Airflow connections, one run's choices are Params; everything else is here.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from confidential_spark.core.credentials import credential_in
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.core.platforms import Platform
from confidential_spark.enclave.occlum_config import EnclaveSizing
from confidential_spark.jobs.input.blob_location import PUBLIC_DATA_SET

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PROJECT_DIR = Path(__file__).resolve().parents[2]
ENV_PREFIX = "CONFIDENTIAL_SPARK_"


def path_or_address(value: object) -> object:
    """Return a path, or the text of an address."""
    return Path(value) if isinstance(value, str) and "://" not in value else value


class DeploymentSettings(BaseSettings):
    """Base of the groups of settings: this one's, and that of each wing, which lives with it."""

    model_config = SettingsConfigDict(
        # An empty path would be the folder that the process is in.
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
    )

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a field."""
        known = cls.model_fields.get(field)
        alias = known.validation_alias if known else None
        return str(alias or f"{cls.model_config['env_prefix']}{field}").upper()


Group = TypeVar("Group", bound=DeploymentSettings)


class Settings(DeploymentSettings):
    """Where things are and how large runs may be; see `docs/reference/settings.md`."""

    include_dir: Path = Field(
        default=PROJECT_DIR / "include",
        description="Jobs, policies and checks, read by path, never imported.",
    )
    results_dir: Annotated[Path | str, BeforeValidator(path_or_address)] = Field(
        default=PROJECT_DIR / "var" / "results",
        description="Published months, one folder per DAG. A folder, or an address in Azure Blob Storage "
        "that the workers of several machines share: `wasbs://results@ACCOUNT.blob.core.windows.net/spark`.",
    )
    results_conn_id: str | None = Field(
        default=None,
        description="Connection of type `wasb` or `adls` that reads and writes results in Blob. Unset: that "
        "of the input.",
    )
    results_grace_hours: Annotated[int, Field(ge=1, le=8760)] = Field(
        default=24,
        description="Hours that a replaced version of a month is kept, for readers who resolved it before.",
    )
    inputs_dir: Path = Field(
        default=PROJECT_DIR / "var" / "inputs", description="Synthetic months made on demand."
    )
    cache_dir: Path = Field(
        default=PROJECT_DIR / "var" / "cache",
        description="JVM class archives and what images are built from. Safe to delete, but for "
        "`simulated-sign-key.pem`: "
        "a simulated image is then signed with a new key, and has to be approved again.",
    )
    input_uri: str | None = Field(
        default=None,
        description="Location of the trip records, e.g. `file:///data/yellow`: a folder of `puYear=` folders "
        "or of the TLC's files, or a template with `{year}` and `{month}`, such as the public data set's "
        f"`{PUBLIC_DATA_SET}`. "
        "Unset: a synthetic month, labelled so, under a simulated policy; under any other a refusal.",
    )
    synthetic_rows: Annotated[int, Field(ge=1_000, le=100_000_000)] = Field(
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
    enclave_user_space_size: str = Field(
        default="12GB",
        description="Memory of all programs in one enclave; part of MRENCLAVE. One image serves every "
        "platform, so a pod asks for as much page cache as this takes.",
    )
    enclave_kernel_heap_size: str = Field(
        default="1GB", description="Occlum's own memory in the enclave; part of MRENCLAVE."
    )
    enclave_process_heap_size: str = Field(
        default="1GB",
        description="Native heap of each process in the enclave: the agent, the JVM and Python; part of "
        "MRENCLAVE.",
    )
    enclave_max_threads: int = Field(
        default=2048, description="Threads of all programs in the enclave together; part of MRENCLAVE."
    )
    enclave_product_id: int = Field(
        default=1, description="The signer's number for this product (ISVPRODID), 0 to 65535."
    )
    enclave_svn: int = Field(
        default=2,
        description="Security version (ISVSVN), 0 to 65535; raise it with every fix that old images must not "
        "outlive.",
    )
    enclave_debug: bool = Field(
        default=False,
        description="Build an enclave that a debugger can read. It protects nothing; production policies "
        "refuse it.",
    )

    @property
    def jobs_dir(self) -> Path:
        """Folder of the Spark programs."""
        return self.include_dir / "jobs"

    @property
    def results_grace(self) -> timedelta:
        """How long a replaced version of a month is kept."""
        return timedelta(hours=self.results_grace_hours)

    def policy_path(self, platform: Platform) -> Path:
        """Return the policy file that evidence from ``platform`` must satisfy."""
        return self.policy_file(
            {
                Platform.LOCAL: self.local_policy,
                Platform.DCSV3: self.dcsv3_policy,
                Platform.AKS: self.aks_policy,
            }[platform]
        )

    def policy_file(self, name: str) -> Path:
        """Return the file of a policy."""
        return self.include_dir / "policies" / f"{name}.yaml"

    def enclave_sizing(self) -> EnclaveSizing:
        """Return how large the image's enclave is, on every platform.

        :raises ConfigurationError: ``enclave-size-malformed`` or ``enclave-number-invalid``.
        """
        return EnclaveSizing(
            user_space=self.enclave_user_space_size,
            kernel_heap=self.enclave_kernel_heap_size,
            process_heap=self.enclave_process_heap_size,
            max_threads=self.enclave_max_threads,
            product_id=self.enclave_product_id,
            svn=self.enclave_svn,
            debug=self.enclave_debug,
        )

    def checks_path(self, job_name: str) -> Path:
        """Return the limits file of a job's result checks."""
        return self.include_dir / "checks" / f"{job_name}.yaml"


def get_settings() -> Settings:
    """Return the deployment's settings that no wing has for itself.

    :raises ConfigurationError: ``settings-invalid``.
    """
    return read_settings(Settings)


def read_settings(group: type[Group]) -> Group:
    """Return a group of the deployment's settings, read once per process.

    :raises ConfigurationError: ``settings-invalid``, naming each variable that is wrong;
        ``settings-credential``.
    """
    return cast("Group", _read(group))


def forget_settings() -> None:
    """Read all groups anew when they are next asked for: the environment has changed."""
    _read.cache_clear()


@cache
def _read(group: type[DeploymentSettings]) -> DeploymentSettings:
    # First: what follows shows the values it rejects.
    _require_no_credential(group)
    try:
        return group()
    except ValidationError as error:
        problems = [_problem(group, each) for each in error.errors()]
    except SettingsError as error:
        # Of a value that should be JSON, pydantic says only this.
        problems = [f"{error}: {error.__cause__}"]
    raise ConfigurationError(
        f"The deployment's settings are wrong: {'; '.join(problems)}",
        code="settings-invalid",
        action="correct these environment variables; docs/reference/settings.md describes each",
    )


def _require_no_credential(group: type[DeploymentSettings]) -> None:
    names = {group.variable(field) for field in group.model_fields}
    given = {name.upper(): value for name, value in os.environ.items() if name.upper() in names}
    found = {name: kind for name, value in sorted(given.items()) if (kind := credential_in(value))}
    if found:
        raise ConfigurationError(
            "The deployment's settings contain a credential; they are shown in logs and pages.",
            code="settings-credential",
            got="; ".join(f"{name}: {kind}" for name, kind in found.items()),
            expected="settings without secrets",
            action="put it into an Airflow connection and name that one in the settings (docs/azure.md); "
            "renew the credential that was given here",
        )


def _problem(group: type[DeploymentSettings], error: ErrorDetails) -> str:
    first, *inner = map(str, error["loc"])
    # A field with a variable of its own is called by that.
    variable = first if first.startswith(ENV_PREFIX) else group.variable(first)
    return f"{'.'.join([variable, *inner])}: {error['msg']}, got {error['input']!r}"
