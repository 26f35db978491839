"""`executor`: an executor's enclave attests itself, gets secret and list of inputs for it, and serves Spark.

What Spark would tell an executor through its pod's environment comes by the launch file; the secret does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from confidential_spark.agent.attestation.attest import attest_key
from confidential_spark.agent.executors.driver import (
    SPARK_SECRET_VARIABLE,
    as_spark_reads_it,
    peer_verifier,
)
from confidential_spark.agent.executors.input_list import copy_listed, download_listed
from confidential_spark.agent.executors.secret_release import request_secret
from confidential_spark.agent.job.runner_jars import Lock
from confidential_spark.agent.job.spark import POD_EXECUTOR, JavaCommand, run_spark
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS
from confidential_spark.agent.launch.launch_file import executor_launch
from confidential_spark.agent.launch.private_storage import private_storage, require_own_programs
from confidential_spark.agent.progress import progress_line, say
from confidential_spark.agent.protocol import executor_role

if TYPE_CHECKING:
    from confidential_spark.agent.launch.launch_file import ExecutorLaunch, LaunchSpec


def executor(spec: LaunchSpec) -> None:
    """Attest, ask the driver's enclave for the secret, take the input, and serve as executor until the end.

    :raises AgentError: the attestation failed, the driver refused, the input is not the driver's, or Spark's
        executor failed.
    """
    launch = executor_launch(spec)
    require_own_programs(spec, launch)
    executor_id = launch.executor["executor_id"]
    key = ec.generate_private_key(ec.SECP256R1())
    own = attest_key(spec, key, executor_role(executor_id))
    grant = request_secret(
        _release_address(launch),
        executor_id=executor_id,
        own=own.record(),
        runtime=own.runtime_data,
        key=key,
        verify=peer_verifier(spec, own),
    )
    say(progress_line("executor", 1, 1, "the driver's enclave accepted this one"))
    with private_storage(Path(launch.work_dir)) as private:
        if grant.source:
            download_listed(grant.source, grant.inputs, private.input)
        else:
            copy_listed(spec.input, grant.inputs, private.input)
        say(f"Input files copied, all as the driver's enclave has read them: {len(grant.inputs)}")
        run_spark(_command(launch, grant.secret, private.spark), say, in_occlum=spec.in_occlum)


def _release_address(launch: ExecutorLaunch) -> tuple[str, int]:
    """Return where the driver's enclave listens: beside Spark's driver, on the release port."""
    driver = urlsplit(launch.executor["driver_url"])
    return driver.hostname or "", launch.release_port


def _command(launch: ExecutorLaunch, secret: bytes, work_dir: Path) -> JavaCommand:
    told = launch.executor
    # The master says that a secret is wanted; its address does not matter to an executor.
    fixed = FIXED_SETTINGS | {"spark.master": "k8s://https://none"}
    return JavaCommand(
        java=launch.java,
        spark_home=launch.spark_home,
        jvm_options=[
            *launch.jvm_options,
            f"-Xmx{told['memory']}",
            *(f"-D{name}={value}" for name, value in sorted(fixed.items())),
        ],
        spark_conf={},
        lock=Lock.GATE,
        main=[
            POD_EXECUTOR,
            *("--driver-url", told["driver_url"]),
            *("--executor-id", told["executor_id"]),
            *("--cores", told["cores"]),
            *("--app-id", told["app_id"]),
            *("--hostname", launch.pod_ip),
            *("--resourceProfileId", told["resource_profile_id"]),
            *("--podName", told["pod_name"]),
        ],
        work_dir=work_dir,
        address=launch.pod_ip,
        variables={SPARK_SECRET_VARIABLE: as_spark_reads_it(secret)},
    )
