"""A small Kubernetes for tests: a real HTTP API whose kubelet runs each pod's command as local processes.

What is true to a cluster is what `tests/kubernetes/test_cluster_contract.py` asks of both: the API's answers
(as `kubernetes` and `kubernetes_asyncio` read them), scheduling by resources, pod phases, conditions, reasons
and events, logs, exec, signals and exit codes, grace periods, quotas, Roles, Pod Security, owner references.

What is not: objects cannot be changed (PUT, PATCH); no images (a container sees the machine's files; see
`images`), no mount, PID or network namespaces (see `volumes` for where mounts are, `container_exec` for what
is refused), no user change, no memory or CPU limit, no admission webhooks, no DNS and no Services' addresses.
A kubelet's waits are shortened to fractions of a second.
"""

from tests.support.fakes.kubernetes_api.cluster import EPC, FakeCluster
from tests.support.fakes.kubernetes_api.faults import Fault
from tests.support.fakes.kubernetes_api.images import Image

__all__ = ["EPC", "FakeCluster", "Fault", "Image"]
