"""The small Kubernetes through `kubernetes_asyncio`, which Airflow's triggers use."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from aiohttp import ClientConnectionError, ClientSession
from kubernetes.client import RbacAuthorizationV1Api
from kubernetes_asyncio import client, config, watch

POD = {
    "metadata": {"name": "pod"},
    "spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "base", "image": "x:1", "command": ["sh", "-c", "echo from a pod"]}],
    },
}


async def _api(cluster) -> client.ApiClient:
    configuration = client.Configuration()
    await config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    return client.ApiClient(configuration)


def test_a_pod_is_created_watched_and_read(cluster) -> None:
    async def scenario() -> tuple[list[str], str]:
        async with await _api(cluster) as api:
            core = client.CoreV1Api(api)
            await core.create_namespaced_pod(cluster.namespace, POD)
            phases: list[str] = []
            async with watch.Watch() as stream:
                async for event in stream.stream(
                    core.list_namespaced_pod, cluster.namespace, timeout_seconds=10
                ):
                    phases.append(event["object"].status.phase)
                    if phases[-1] == "Succeeded":
                        break
            raw = await core.read_namespaced_pod_log("pod", cluster.namespace, _preload_content=False)
            return phases, (await raw.read()).decode()

    phases, text = asyncio.run(scenario())
    assert phases[-1] == "Succeeded"
    assert text == "from a pod\n"


def test_a_watch_ends_when_its_time_is_up(cluster) -> None:
    async def scenario() -> int:
        async with await _api(cluster) as api, watch.Watch() as stream:
            core = client.CoreV1Api(api)
            events = stream.stream(core.list_namespaced_event, cluster.namespace, timeout_seconds=1)
            return len([event async for event in events])

    assert asyncio.run(scenario()) == 0


def test_a_watch_may_be_a_websocket_as_spark_s_is(cluster) -> None:
    async def scenario() -> list[str]:
        trusted = ssl.create_default_context(cafile=str(cluster.certificate))
        headers = {"Authorization": f"Bearer {cluster.account_token('default')}"}
        url = f"{cluster.url}/api/v1/namespaces/{cluster.namespace}/pods?watch=true"
        cluster.core().create_namespaced_pod(cluster.namespace, POD)
        types = []
        async with (
            ClientSession() as session,
            session.ws_connect(url, ssl=trusted, headers=headers) as socket,
        ):
            async for frame in socket:
                event = frame.json()
                types.append(event["type"])
                if event["object"]["status"]["phase"] == "Succeeded":
                    await socket.close()
        return types

    _let_default_account_watch(cluster)
    assert asyncio.run(scenario())[0] == "ADDED"


def test_while_the_api_is_away_connections_are_refused(cluster) -> None:
    async def names() -> list[str]:
        async with await _api(cluster) as api:
            listed = await client.CoreV1Api(api).list_namespaced_config_map(cluster.namespace)
            return [item.metadata.name for item in listed.items]

    cluster.go_away(0.5)
    with pytest.raises(ClientConnectionError):
        asyncio.run(names())
    cluster.wait(lambda: _answers(names))
    assert asyncio.run(names()) == ["kube-root-ca.crt"]


def _let_default_account_watch(cluster) -> None:
    rbac = RbacAuthorizationV1Api(cluster.core().api_client)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["watch"]}]
    rbac.create_namespaced_role(cluster.namespace, {"metadata": {"name": "watcher"}, "rules": rules})
    binding = {
        "metadata": {"name": "watcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watcher"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace}],
    }
    rbac.create_namespaced_role_binding(cluster.namespace, binding)


def _answers(names) -> bool:
    try:
        return bool(asyncio.run(names()))
    except ClientConnectionError:
        return False
