"""One try of `run_spark`, alone: only Airflow's server is a fake, a JSON file that outlives the worker.

As a program, `python -m tests.docker.one_try FOLDER`, it is a worker that can be killed.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from confidential_spark.core.platforms import Platform
from confidential_spark.jobs import JOBS
from confidential_spark.platforms.docker.spark import EnclaveSparkDockerOperator

if TYPE_CHECKING:
    from confidential_spark.enclave.image import EnclaveImage

DAG_ID, TASK_ID = "sparkpi_dcsv3", "spark.run_spark"
PARAMS = {"month": "2018-05", "publish": True, "partitions": 1, "outlier_cap_dollars": 1000}


@dataclass(frozen=True)
class FakeServer:
    """What Airflow's server remembers of one task instance."""

    file: Path

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text())) if self.file.exists() else {"store": {}, "xcoms": {}}

    def write(self, kind: str, key: str, value: Any) -> None:
        content = self.read()
        content[kind].pop(key, None)
        if value is not None:
            content[kind][key] = value
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(content))
        temporary.replace(self.file)

    def get(self, key: str, default: Any = None) -> Any:
        return self.read()["store"].get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.write("store", key, value)

    def delete(self, key: str) -> None:
        self.write("store", key, None)

    def xcom_push(self, key: str, value: Any) -> None:
        self.write("xcoms", key, value)


@dataclass(frozen=True)
class OneTry:
    """One try of the task in a folder.

    :param max_tries: clearing the task raises it.
    """

    folder: Path
    image: EnclaveImage
    job: str = "sparkpi"
    manifest: dict[str, Any] | None = None
    try_number: int = 1
    max_tries: int = 2
    map_index: int = -1

    @property
    def server(self) -> FakeServer:
        return FakeServer(self.folder / "server.json")

    @property
    def run_id(self) -> str:
        return f"manual__{self.folder.name}"

    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id=DAG_ID,
            task_id=TASK_ID,
            run_id=self.run_id,
            try_number=self.try_number,
            max_tries=self.max_tries,
            map_index=self.map_index,
            xcom_push=self.server.xcom_push,
        )
        return {
            "ti": ti,
            "dag": SimpleNamespace(params=PARAMS),
            "params": PARAMS,
            "dag_run": SimpleNamespace(run_after=datetime.now(UTC), conf={}),
            "task_state_store": self.server,
        }

    def operator(self) -> EnclaveSparkDockerOperator:
        return EnclaveSparkDockerOperator(
            task_id=TASK_ID,
            job=JOBS[self.job],
            platform=Platform.DCSV3,
            image=self.image.to_xcom(),
            manifest=self.manifest,
        )

    def execute(self) -> dict[str, str]:
        """Run the task in this process."""
        return dict(self.operator().execute(self.context()))

    def store(self) -> None:
        """Write down what the worker program needs."""
        values = asdict(self) | {"folder": str(self.folder), "image": self.image.to_xcom()}
        (self.folder / "try.json").write_text(json.dumps(values))


def main(folder: Path) -> None:
    from confidential_spark.enclave.image import EnclaveImage

    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    values = json.loads((folder / "try.json").read_text())
    values |= {"folder": folder, "image": EnclaveImage.from_xcom(values["image"])}
    OneTry(**values).execute()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
