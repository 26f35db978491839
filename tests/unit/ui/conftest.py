"""Airflow's own API server with our plugin, users of each role, and published results on disk."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from confidential_spark.agent.protocol import SIMULATED_NOTICE, arguments_sha256, canonical_json
from confidential_spark.jobs import JOBS
from confidential_spark.simulation.hardware.keys import token_signing_key
from confidential_spark.ui.results.live_verification import Judge, KeptJudgements
from confidential_spark.ui.room.verifier import Verifier
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.factories.bundles import IDENTITY, POLICY, make_bundle
from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

DAG_ID, KEY = "nytaxi_local", "month=2018-05"
RUN_ID = "manual__2018-06-01T00:00:00+00:00"
START = datetime(2026, 11, 1, 10, tzinfo=UTC)

SUMMARY: dict[str, Any] = {
    "v": 1,
    "job": "nytaxi",
    "month": "2018-05",
    "rows": {"input": 10000, "accepted": 9974, "rejected": 26},
    "totals": {
        "trips": 9974,
        "revenue_cents": 16711801,
        "tip_cents": 1936127,
        "distance_millimiles": 30066870,
        "speed_mph": 12.19,
    },
    "duration_ms": 3361,
}
MRENCLAVE = IDENTITY.mrenclave.hex()
REPORT: dict[str, Any] = {
    "trust": "simulated",
    "synthetic": True,
    "verification": {
        "steps": [
            {"number": 1, "title": "Sizes and strict decoding", "status": "PASS", "detail": "3 parts"},
            {
                "number": 2,
                "title": "Token header",
                "status": "FAIL",
                "code": "alg-not-rs256",
                "got": "none",
                "expected": "RS256",
                "detail": "alg is wrong",
            },
        ],
        "facts": {},
    },
    "checks": [
        {"name": "hours", "severity": "error", "passed": True, "got": "24", "expected": "24"},
        {"name": "history", "severity": "warn", "passed": False, "got": "2 months", "expected": "6 months"},
        {"name": "recount", "severity": "error", "passed": False, "got": "1", "expected": "2"},
    ],
}


def with_identity(report: Any, dag_id: str, month: str | None, run_id: str) -> Any:
    """Return a report that also says what the evidence says, as verifiers demand; else what it is."""
    if not isinstance(report.get("verification"), dict):
        return report
    measured = {"mrenclave": MRENCLAVE, "mrsigner": IDENTITY.mrsigner.hex(), "product_id": 7, "svn": 3}
    names = {
        "run_id": f"{dag_id}/{run_id}",
        "job": dag_id.rpartition("_")[0],
        "month": month,
        "trust": "simulated",
        "notice": SIMULATED_NOTICE,
        "image_digest": "sha256:" + "cd" * 32,
        "measurement": measured,
        "figures": {},
    }
    return {**names, **report}


def with_checks(*severities: str) -> dict[str, Any]:
    """Return a report whose checks of these severities were not passed, besides one that was."""
    failed = [
        {"name": f"{s} {n}", "severity": s, "passed": False, "got": "2 months", "expected": "6 months"}
        for n, s in enumerate(severities)
    ]
    return {**REPORT, "checks": [REPORT["checks"][0], *failed]}


ENCLAVE_RUN: dict[tuple[str, str], Any] = {("spark.run_spark", "enclave_run"): {"key": KEY}}


TOKEN_KEY_PIN = sha256(
    token_signing_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).hexdigest()
PROGRAM = b"job file"  # what the bundles' runs executed
POLICY_FILE = {
    **POLICY,
    "attestation": {**POLICY["attestation"], "token_signing_keys": [TOKEN_KEY_PIN]},
}


@cache
def signed(dag_id: str, month: str | None, run_id: str, digests: tuple[tuple[str, str], ...]) -> bytes:
    """Return the evidence of a run that computed the month and made these files."""
    job = dag_id.rpartition("_")[0]
    arguments = ["--month", month] if month else ["--partitions", "2"]
    identity = {"name": job, "arguments_sha256": arguments_sha256(arguments)}
    subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in digests]

    def predicate(members: dict[str, Any]) -> dict[str, Any]:
        inputs = members["inputs"] if month else []
        named = {**members["job"], **identity, "arguments": arguments}
        return {**members, "month": month, "inputs": inputs, "job": named}

    bundle = make_bundle(
        run_id=f"{dag_id}/{run_id}",
        runtime=lambda members: {**members, "job": {**members["job"], **identity}},
        predicate=predicate,
        statement=lambda statement: {**statement, "subject": subject},
    )
    return bundle.evidence


def write_include(include: Path) -> Path:
    """Write a deployment's include folder, whose policy accepts the bundles that tests make."""
    (include / "policies").mkdir()
    (include / "jobs").mkdir()
    for job in JOBS:
        (include / "jobs" / f"{job}.py").write_bytes(PROGRAM)
    (include / "policies" / "simulation.yaml").write_text(yaml.safe_dump(POLICY_FILE))
    shutil.copytree(ROOT / "include/policies/roots", include / "policies" / "roots")
    shutil.copy(ROOT / "include/policies/production.yaml", include / "policies")
    return include


@pytest.fixture
def deployment(tmp_path_factory: pytest.TempPathFactory, deploy: Callable[..., None]) -> Path:
    """The include folder of the deployment."""
    include = write_include(tmp_path_factory.mktemp("include"))
    deploy(include_dir=include)
    return include


@pytest.fixture
def publish(tmp_path: Path, deployment: Path) -> Callable[..., Path]:
    """Put a result where readers look, as the result store does."""
    return publisher(tmp_path)


def publisher(folder: Path) -> Callable[..., Path]:
    """Return what publishes into a folder."""

    def publish(
        dag_id: str = DAG_ID,
        key: str = KEY,
        *,
        report: Any = REPORT,
        summary: Any = SUMMARY,
        attempt: str = "try-1",
        run_id: str = RUN_ID,
    ) -> Path:
        version = folder / dag_id / ".versions" / key / attempt
        version.mkdir(parents=True)
        (version / "summary.json").write_text(json.dumps(summary))
        hours = {"hour": list(range(24)), "trips": [100 * hour for hour in range(24)]}
        pq.write_table(pa.table(hours), version / "by_hour.parquet")
        payments = {"payment_type": ["credit", "no_charge"], "revenue_cents": [1200000, 5000]}
        pq.write_table(pa.table(payments), version / "by_payment_type.parquet")
        digests = {p.name: sha256(p.read_bytes()).hexdigest() for p in version.iterdir()}
        month = key.partition("=")[2] if key.startswith("month=") else None
        evidence = signed(dag_id, month, run_id, tuple(sorted(digests.items())))
        (version / "evidence.json").write_bytes(evidence)
        (version / "report.json").write_text(json.dumps(with_identity(report, dag_id, month, run_id)))
        (version / "envelope.json").write_bytes(canonical_json(json.loads(evidence)["envelope"]))
        link = folder / dag_id / key
        link.unlink(missing_ok=True)
        link.symlink_to(f".versions/{key}/{attempt}")
        return version

    return publish


@pytest.fixture
def judge(deployment: Path) -> Judge:
    """Who verifies what the DAG has published, with no memory of earlier tests."""
    policy = deployment / "policies" / "simulation.yaml"
    return Judge(DAG_ID, JOBS["nytaxi"], policy, deployment / "jobs", KeptJudgements())


@pytest.fixture(scope="session")
def api_server(airflow_database: Path) -> Any:
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


class VerifierByHand(Verifier):
    """Verifies when a test says so."""

    def start(self) -> None:
        """Leave it to the test."""


@pytest.fixture
def by_hand() -> VerifierByHand:
    """What verifies for the control room, at a test's word: ``by_hand.work(rest=0)``."""
    return VerifierByHand()


@pytest.fixture
def browse(
    api_server: Any, tmp_path: Path, by_hand: VerifierByHand
) -> Iterator[Callable[[str | None], TestClient]]:
    """Return a browser for a user of a role, or for a stranger."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.plugins_manager import get_fastapi_plugins
    from confidential_spark.ui.app import published
    from confidential_spark.ui.results.published import Published
    from confidential_spark.ui.room.routes import verifier
    from fastapi.testclient import TestClient

    (app,) = (entry["app"].app for entry in get_fastapi_plugins()[0] if entry["name"] == "Confidential Spark")
    app.dependency_overrides[published] = lambda: Published(tmp_path)
    app.dependency_overrides[verifier] = lambda: by_hand

    def browse(role: str | None = "viewer") -> TestClient:
        headers = {}
        if role is not None:
            user = SimpleAuthManagerUser(username=role, role=None if role == "nobody" else role.upper())
            headers["Authorization"] = f"Bearer {get_auth_manager().generate_jwt(user)}"
        return TestClient(
            api_server,
            base_url="http://testserver/confidential-spark",
            headers=headers,
            follow_redirects=False,
        )

    yield browse
    app.dependency_overrides.clear()


@pytest.fixture
def audit_log(airflow_database: Path) -> Callable[[], list[tuple[str, str, str | None]]]:
    """Return event, owner and run of each entry of Airflow's audit log."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from airflow_local_settings import audit_log_writer
    from sqlalchemy import select

    def entries() -> list[tuple[str, str, str | None]]:
        # What was asked of the API server may still wait to be written, and so may what other tests asked.
        audit_log_writer().submit(lambda: None).result(60)
        with create_session() as session:
            found = session.scalars(select(Log).order_by(Log.id))
            return [(log.event, log.owner, log.run_id) for log in found]

    return entries


@pytest.fixture
def no_requests(airflow_database: Path) -> Iterator[None]:
    """Nobody has asked for a range to be verified anew, and after the test nobody has."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from confidential_spark.ui.audit.requests import EVENT
    from sqlalchemy import delete

    def forget() -> None:
        with create_session() as session:
            session.execute(delete(Log).where(Log.event == EVENT))

    forget()
    yield
    forget()


@pytest.fixture
def show(browse: Callable[[str | None], TestClient]) -> Callable[[Any], None]:
    """Give the pages other results than those in the test's folder, or None: the deployment's."""
    from airflow.plugins_manager import get_fastapi_plugins
    from confidential_spark.ui.app import published

    (app,) = (entry["app"].app for entry in get_fastapi_plugins()[0] if entry["name"] == "Confidential Spark")

    def show(results: Any) -> None:
        app.dependency_overrides.clear()
        if results is not None:
            app.dependency_overrides[published] = lambda: results

    return show


@pytest.fixture
def dag_run(airflow_database: Path) -> Iterator[Callable[..., None]]:
    """Write runs into Airflow's database as a scheduler would have; they are gone after the test."""
    with written_runs() as write:
        yield write


@contextmanager
def written_runs() -> Iterator[Callable[..., None]]:
    """Give what writes runs into Airflow's database; they are gone after the block."""
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagcode import DagCode
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, insert, select

    dag_ids: set[str] = set()
    numbers = count(1)

    def forget(session: Any, names: set[str]) -> None:
        models = (XComModel, TaskInstance, DagRun, SerializedDagModel, DagCode, DagVersion, DagModel)
        for model in models:
            session.execute(delete(model).where(model.dag_id.in_(names)))

    def write(
        state: str,
        tasks: dict[str, str],
        *,
        dag_id: str = DAG_ID,
        run_id: str = RUN_ID,
        xcoms: dict[tuple[str, str], Any] | None = None,
        **columns: Any,
    ) -> None:
        with create_session() as session:
            if dag_id not in dag_ids:
                # Other tests of the session may have run the real DAG of this name.
                forget(session, {dag_id})
                dag_ids.add(dag_id)
            session.merge(DagBundleModel(name="tests"))
            session.flush()
            session.merge(DagModel(dag_id=dag_id, bundle_name="tests"))
            session.flush()
            version = DagVersion(dag_id=dag_id, version_number=next(numbers), bundle_name="tests")
            run = DagRun(
                dag_id=dag_id,
                run_id=run_id,
                run_type="manual",
                state=state,
                **{"run_after": START, **columns},
            )
            session.add_all([version, run])
            session.flush()
            for number, (task_id, task_state) in enumerate(tasks.items()):
                values = {
                    "task_id": task_id,
                    "dag_id": dag_id,
                    "run_id": run_id,
                    "map_index": -1,
                    "state": task_state,
                    "start_date": START + timedelta(seconds=10 * number),
                    "end_date": START + timedelta(seconds=10 * number + 4),
                    "try_number": 1,
                    "pool": "default_pool",
                    "dag_version_id": version.id,
                }
                session.execute(insert(TaskInstance).values(**values))
            for (task_id, key), value in {**ENCLAVE_RUN, **(xcoms or {})}.items():
                if task_id in tasks:
                    of_run = {"dag_id": dag_id, "run_id": run_id, "dag_run_id": run.id}
                    session.add(XComModel(key=key, value=value, task_id=task_id, **of_run))

    try:
        yield write
    finally:
        with create_session() as session:
            forget(session, dag_ids)
            assert session.scalars(select(DagRun).where(DagRun.dag_id.in_(dag_ids))).first() is None
