"""What the Kubernetes API says about objects, and what becomes of pods that are still needed.

Sources: Kubernetes 1.34 (API server, kubelet, scheduler); each was met on a real cluster.
"""

from __future__ import annotations

from confidential_spark.core.failures.model import Failure, fatal, transient

API: tuple[Failure, ...] = (
    transient(
        "kubernetes-unreachable",
        "kubernetes",
        "The Kubernetes API did not answer.",
        "See whether the cluster runs; correct the connection's address, or the proxy between.",
    ),
    fatal(
        "kubernetes-unauthorized",
        "kubernetes",
        "The Kubernetes API does not accept the connection's credentials.",
        "Renew the token or certificate of the Kubernetes connection.",
    ),
    transient(
        "quota-exceeded",
        "kubernetes",
        "The namespace's quota is used up.",
        "Wait for other runs to end, or raise the ResourceQuota.",
        r"exceeded quota",
        r"must specify (?:limits|requests)\.",
    ),
    fatal(
        "pod-security-refused",
        "kubernetes",
        "The namespace's Pod Security level refuses the pod.",
        "Read which field it names: our pods satisfy the level `restricted`; look for a mutating webhook.",
        r"violates PodSecurity",
    ),
    fatal(
        "volume-missing",
        "kubernetes",
        "A volume of the pod cannot be mounted.",
        "Make the claim that the setting aks_claim names; `kubectl describe pvc` says why it is not bound.",
        r"persistentvolumeclaim \"[^\"]{1,253}\" not found",
        r"has unbound immediate PersistentVolumeClaims",
        r"MountVolume\.\w{1,20} failed for volume \"(?:data|pvc-)",
        r"MountVolume\.NewMounter initialization failed for volume",
    ),
    fatal(
        "volume-not-writable",
        "kubernetes",
        "The data volume cannot be written by the image's user.",
        "Use a volume that honours fsGroup, or mount options uid=10001,gid=10001 (Azure Files).",
    ),
    fatal(
        "peer-measurement",
        "kubernetes",
        "A pod with another program asked for the run's secret, and got nothing.",
        "Treat it as an incident: find out who starts pods in the namespace; run again when that is clear.",
    ),
)

PODS: tuple[Failure, ...] = (
    transient(
        "pod-lost",
        "kubernetes",
        "A pod was removed, or its node went away, while the run still needed it.",
        "Run again; look for whoever deletes pods with our labels, and at the node's events.",
    ),
    fatal(
        "kubernetes-refused",
        "kubernetes",
        "The Kubernetes API refused an object.",
        "Read its words: the namespace is missing, or a setting does not fit this cluster.",
    ),
)
