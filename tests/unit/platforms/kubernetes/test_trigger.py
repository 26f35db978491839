"""The trigger of a driver's pod, as a triggerer makes it from Airflow's database."""

from __future__ import annotations

from confidential_spark.platforms.kubernetes.trigger import EnclavePodTrigger

STORED = {
    "names": ["d", "t"],
    "namespace": "n",
    "container": "enclave",
    "conn_id": "kubernetes_default",
    "connection_extras": {},
    "start_seconds": 900.0,
}


def test_a_trigger_is_made_again_from_what_it_stores() -> None:
    path, stored = EnclavePodTrigger(**STORED, look_at=1_000.0).serialize()
    assert path.endswith(".EnclavePodTrigger")
    assert stored == STORED | {"look_at": 1_000.0}


def test_a_trigger_of_an_older_version_has_the_task_look_at_once() -> None:
    assert EnclavePodTrigger(**STORED).look_at == 0.0
