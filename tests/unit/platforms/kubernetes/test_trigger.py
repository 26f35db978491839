"""The trigger of a driver's pod, as a triggerer makes it from Airflow's database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from confidential_spark.platforms.kubernetes import trigger as pod_trigger
from confidential_spark.platforms.kubernetes.trigger import EnclavePodTrigger

from tests.support.fakes.stalled_tls import HALF_A_SERVER_HELLO, StalledTls

if TYPE_CHECKING:
    from pathlib import Path

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""
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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("answer", [b"", HALF_A_SERVER_HELLO], ids=["silent", "half-a-handshake"])
def test_a_tls_handshake_has_a_time_out(tmp_path: Path, monkeypatch, answer: bytes) -> None:
    monkeypatch.setattr(pod_trigger, "REQUEST_TIMEOUT_SECONDS", 0.2)
    with StalledTls(answer) as stalled:
        path = tmp_path / "kubeconfig"
        path.write_text(KUBECONFIG % stalled.url)
        stored = STORED | {"connection_extras": {"kube_config_path": str(path)}}

        async def first_event() -> object:
            return await anext(EnclavePodTrigger(**stored, look_at=0.0).run())

        event = asyncio.run(first_event())
    # The API that stalls is no event: that the task shall look is.
    assert event.payload == {"because": "time"}
    assert len(stalled.connections) == 1
