"""What the operator costs beside a plain `docker run` of the same image with the same launch file.

`PYTHONPATH=plugins:. python -m benchmarks.docker_overhead IMAGE_ID [ROUNDS]`

Both run SparkPi, in turn, on the engine of the environment. Airflow itself is not in the figures.
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import docker
from confidential_spark.agent.protocol import b64url
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.operators.attempt import EnclaveRun
from confidential_spark.operators.base import RunScope
from confidential_spark.platforms.docker.enclave import container_spec
from confidential_spark.platforms.docker.settings import docker_settings

from tests.docker.one_try import DAG_ID, PARAMS, OneTry

BUDGET_SECONDS = 3.0


def main() -> int:
    """Return 1 when the median overhead is above the budget."""
    os.environ.setdefault("CONFIDENTIAL_SPARK_DCSV3_POLICY", "simulation-image")
    image_id = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    labels = docker.from_env().images.get(image_id).labels
    image = EnclaveImage.from_labels(image_id, image_id, labels)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONFIDENTIAL_SPARK_RESULTS_DIR"] = folder
        pairs = [(plain(image, Path(folder)), by_operator(image, Path(folder))) for _ in range(rounds)]
    for one, other in pairs:
        print(f"docker run {one:6.2f} s   operator {other:6.2f} s   overhead {other - one:+5.2f} s")
    run, task = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"medians: docker run {run:.2f} s, operator {task:.2f} s")
    print(f"overhead {task - run:.2f} s ({task / run:.2f} times), budget {BUDGET_SECONDS} s")
    return int(task - run > BUDGET_SECONDS)


def plain(image: EnclaveImage, folder: Path) -> float:
    """Return the seconds of `docker run` with the operator's own limits and launch file."""
    operator = OneTry(folder, image).operator()
    run = EnclaveRun(
        f"{DAG_ID}/plain",
        b64url(secrets.token_bytes(32)),
        datetime.now(UTC).isoformat(timespec="seconds"),
        "plain",
        str(folder),
    )
    scope = RunScope(DAG_ID, "plain", 1, None, PARAMS)
    launch = operator.launch(scope, image, run)
    spec = container_spec(docker_settings(), image, "run", launch, {}, ())
    owner = f"uid={layout.USER_ID},gid={layout.USER_ID},mode=0700"
    command = [
        *("docker", "run", "--rm", "--read-only", "--network", spec.network, "--cap-drop", "ALL"),
        *(
            "--security-opt",
            "no-new-privileges:true",
            "--hostname",
            "enclave",
            "--add-host",
            "enclave:127.0.0.1",
        ),
        *("--memory", str(spec.memory_bytes), "--cpus", str(spec.cpus), "--user", layout.USER),
        *("--tmpfs", f"{layout.TEMPORARY_DIR}:rw,exec,mode=1777,size={spec.scratch_bytes}"),
        *("--tmpfs", f"{layout.LAUNCH_DIR}:rw,size=1m,{owner}"),
        *("--tmpfs", f"{layout.RUN_DIR}:rw,exec,size=64m,{owner}"),
        *("--volume", str(layout.DATA_DIR), "--env", layout.LAUNCH_VARIABLE, image.reference, "run"),
    ]
    start = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **spec.environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - start


def by_operator(image: EnclaveImage, folder: Path) -> float:
    """Return the seconds of the operator, from its start to results on this machine."""
    own = folder / secrets.token_hex(4)
    own.mkdir()
    start = time.perf_counter()
    OneTry(own, image).execute()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
