"""Where enclaves run: three wings that do not know each other, and the operators of each, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from confidential_spark.core.platforms import Platform

if TYPE_CHECKING:
    from confidential_spark.operators.attestation import AttestPlatformOperator
    from confidential_spark.operators.base import ConfidentialOperator
    from confidential_spark.operators.platform_check import PlatformCheckOperator
    from confidential_spark.operators.publish import CleanStagingOperator


@dataclass(frozen=True)
class PlatformOperators:
    """The tasks that differ between platforms, each by its class.

    :param resolve_image: which enclave runs, and whether its measurement is approved.
    :param attest: an enclave here proves what it is.
    :param run_spark: the job, in an enclave that attests itself.
    :param clean: what is left of a run is removed.
    """

    resolve_image: type[ConfidentialOperator]
    attest: type[AttestPlatformOperator]
    run_spark: type[ConfidentialOperator]
    clean: type[CleanStagingOperator]


def operators_of(platform: Platform) -> PlatformOperators:
    """Return a platform's operators, and import its wing with the libraries that it needs, not earlier."""
    match platform:
        case Platform.LOCAL:
            return _local()
        case Platform.DCSV3:
            return _docker()
        case Platform.AKS:
            return _kubernetes()
        case _:
            assert_never(platform)


def check_operator_of(platform: Platform) -> type[PlatformCheckOperator]:
    """Return the task that says whether enclaves can run on a platform now; no job's DAG has it."""
    match platform:
        case Platform.LOCAL:
            from confidential_spark.platforms.local.check import LocalCheckOperator

            return LocalCheckOperator
        case Platform.DCSV3:
            from confidential_spark.platforms.docker.check.task import DockerCheckOperator

            return DockerCheckOperator
        case Platform.AKS:
            from confidential_spark.platforms.kubernetes.check.task import ClusterCheckOperator

            return ClusterCheckOperator
        case _:
            assert_never(platform)


def _local() -> PlatformOperators:
    from confidential_spark.operators.publish import CleanStagingOperator
    from confidential_spark.platforms.local.operators import (
        AttestLocalPlatformOperator,
        EnclaveSparkLocalOperator,
        ResolveSimulatedImageOperator,
    )

    return PlatformOperators(
        resolve_image=ResolveSimulatedImageOperator,
        attest=AttestLocalPlatformOperator,
        run_spark=EnclaveSparkLocalOperator,
        clean=CleanStagingOperator,
    )


def _docker() -> PlatformOperators:
    from confidential_spark.platforms.docker.operators import (
        AttestDockerPlatformOperator,
        CleanDockerRunOperator,
        ResolveDockerImageOperator,
    )
    from confidential_spark.platforms.docker.spark import EnclaveSparkDockerOperator

    return PlatformOperators(
        resolve_image=ResolveDockerImageOperator,
        attest=AttestDockerPlatformOperator,
        run_spark=EnclaveSparkDockerOperator,
        clean=CleanDockerRunOperator,
    )


def _kubernetes() -> PlatformOperators:
    from confidential_spark.platforms.kubernetes.operators import (
        AttestKubernetesPlatformOperator,
        CleanKubernetesRunOperator,
        ResolveKubernetesImageOperator,
    )
    from confidential_spark.platforms.kubernetes.spark import EnclaveSparkKubernetesOperator

    return PlatformOperators(
        resolve_image=ResolveKubernetesImageOperator,
        attest=AttestKubernetesPlatformOperator,
        run_spark=EnclaveSparkKubernetesOperator,
        clean=CleanKubernetesRunOperator,
    )
