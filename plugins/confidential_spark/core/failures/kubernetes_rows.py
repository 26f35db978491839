"""What the Kubernetes API says about objects, and what becomes of pods that are still needed.

Sources: the words of Kubernetes 1.34 (API server with its admission plugins, scheduler, kubelet) and of this
project's agent. Met on a real cluster of one node: a used-up quota, missing rights, an eviction, too little
enclave memory, a foreign program. The others are quoted from the sources or from the tests' small Kubernetes.
"""

from __future__ import annotations

from confidential_spark.core.failures.model import Failure, fatal, transient

PEERS: tuple[Failure, ...] = (
    fatal(
        "peer-measurement",
        "kubernetes",
        "A pod with another program asked for the run's secret, and got nothing.",
        "Treat it as an incident: find out who starts pods in the namespace; run again when that is clear.",
    ),
    fatal(
        "driver-not-attested",
        "kubernetes",
        "Something between an executor and the driver answered in the driver's place.",
        "Treat it as an incident: find out who can reach or redirect the driver's port in the namespace.",
    ),
    fatal(
        "release-refused",
        "kubernetes",
        "The driver's enclave refused an executor, which got nothing.",
        "Read the code after `got`: another image or run, a token that is not valid, or a node's clock.",
    ),
    fatal(
        "executor-input-differs",
        "kubernetes",
        "An executor was served another input than the driver, and did no work.",
        "Treat it as an incident: find out who writes to the input, and what serves it to that node.",
    ),
)

API: tuple[Failure, ...] = (
    fatal(
        "pod-security-refused",
        "kubernetes",
        "The namespace's Pod Security level refuses the pod.",
        "Read which field it names: our pods satisfy the level `restricted`; look for a mutating webhook.",
        r"violates PodSecurity",
    ),
    fatal(
        "pod-forbidden",
        "kubernetes",
        "The Kubernetes account may not do what the run needs.",
        "Apply include/kubernetes again: the driver's account needs its pods only, Airflow's what docs/aks.md"
        " lists.",
        # Nobody here has the right to patch pods; Spark asks for it to mark an executor that has ended.
        r"User \"[^\"]{1,300}\" cannot (?!patch resource \"pods\")",
    ),
    fatal(
        "service-account-missing",
        "kubernetes",
        "The service account of the pod does not exist.",
        "Apply include/kubernetes to the namespace: it makes airflow-launcher, spark-driver, spark-executor.",
        r"error looking up service account",
        r"serviceaccount \"[^\"]{1,253}\" not found",
    ),
    fatal(
        "namespace-terminating",
        "kubernetes",
        "The namespace is being deleted.",
        "Find out who deletes it; apply include/kubernetes again when it is gone.",
        r"unable to create new content in namespace .{1,253} because it is being terminated",
    ),
    fatal(
        "webhook-denied",
        "kubernetes",
        "A policy engine of the cluster denied the object.",
        "Read its words; exempt the namespace, or change the setting that they name.",
        r"admission webhook \"[^\"]{1,253}\" denied the request",
        r"ValidatingAdmissionPolicy '[^']{1,253}' .{0,200}denied request",
    ),
    fatal(
        "pod-size-refused",
        "kubernetes",
        "The namespace's quota or LimitRange does not admit a pod of this size.",
        "Compare the CONFIDENTIAL_SPARK_AKS_ settings with `kubectl describe limitrange,resourcequota`.",
        r"failed quota: .{1,253}: must specify ",
        r"(?:maximum|minimum) .{1,80} usage per (?:Container|Pod) is ",
        r"max limit to request ratio per (?:Container|Pod) is ",
    ),
    fatal(
        "volume-missing",
        "kubernetes",
        "A volume of the pod cannot be mounted.",
        "`kubectl describe pod` names the volume: ours are memory, the try's Secret and a token, no claim.",
        r"MountVolume\.\w{1,20} failed for volume .{1,300}(?:mount failed|rpc error|timed out|denied)",
        r"[Uu]nable to attach or mount volumes",
    ),
)

POD_ENDS: tuple[Failure, ...] = (
    fatal(
        "pod-storage-limit",
        "kubernetes",
        "The pod wrote more to its node's disk than it may.",
        "Raise the pod's ephemeral storage, or the volume's size limit (settings CONFIDENTIAL_SPARK_AKS_…).",
        r"exceed(?:ed|s) its local ephemeral storage limit",
        r"[Uu]sage of EmptyDir volume .{1,300} exceeds the limit",
        r"ephemeral local storage usage exceeds the total limit",
    ),
    transient(
        "pod-evicted",
        "kubernetes",
        "Kubernetes removed the pod: its node was short of something or went away.",
        "Run again; when it repeats, raise the pod's requests or look at the node's pressure conditions.",
        r"The node was low on resource",
        r"The node had condition",
        r"\bEvicted\b",
        r"TaintManagerEviction|NodeShutdown|\bPreempted\b|Preempting",
        r"DeletionByTaintManager|Taint manager: deleting|EvictionByEvictionAPI|DeletionByPodGC",
        r"PreemptionByScheduler|TerminationByKubelet",
        r"imminent node shutdown",
    ),
    transient(
        "pod-rejected",
        "kubernetes",
        "The node did not take a pod that was meant for it: something had been given away meanwhile.",
        "Run again; when it repeats, look at the node's kubelet and its SGX device plugin.",
        r"UnexpectedAdmissionError",
        r"\bOutOf(?:cpu|memory|pods|ephemeral-storage|[a-z0-9.-]{1,200}/[a-z0-9_.-]{1,63})\b",
        r"Pod was rejected",
        r"Predicate \w{1,60} failed",
    ),
)

# What a run waits for. Spark prints them as well, each time that it cannot make an executor yet.
OBSTACLES: tuple[Failure, ...] = (
    transient(
        "quota-exceeded",
        "kubernetes",
        "The namespace's quota is used up.",
        "Wait for other runs to end, or raise the ResourceQuota.",
        r"exceeded quota",
        r"status unknown for quota",
    ),
    transient(
        "webhook-failing",
        "kubernetes",
        "An admission webhook of the cluster does not answer, so the API takes no pods.",
        "Repair the webhook that it names, or its certificate; the run waits for it.",
        r"failed calling webhook",
    ),
    transient(
        "kubernetes-unauthorized",
        "kubernetes",
        "The Kubernetes API does not accept the connection's credentials.",
        "Renew the token or certificate of the Kubernetes connection; the next try goes on with the pods.",
    ),
    transient(
        "kubernetes-unreachable",
        "kubernetes",
        "The Kubernetes API did not answer.",
        "See whether the cluster runs; correct the connection's address, or the proxy between.",
    ),
    transient(
        "driver-unreachable",
        "kubernetes",
        "An executor could not reach the driver's enclave.",
        "See how the driver ended; if it did not, look at the network policies between the pods.",
    ),
)

PODS: tuple[Failure, ...] = (
    fatal(
        "pod-config-missing",
        "kubernetes",
        "A Secret or ConfigMap that the pod refers to does not exist.",
        "Make it in the runs' namespace under the name in the message, or correct the setting that names it.",
        r"CreateContainerConfigError",
        r"(?:secret|configmap) \"[^\"]{1,253}\" not found",
        r"couldn't find key .{1,253} in (?:Secret|ConfigMap)",
    ),
    transient(
        "pod-network",
        "kubernetes",
        "The node could not give the pod a network.",
        "Run again; when it repeats, look at the subnet's free addresses and the node's network plugin.",
        r"FailedCreatePodSandBox|Failed to create pod sandbox",
        r"failed to setup network for sandbox",
    ),
    transient(
        "pod-lost",
        "kubernetes",
        "A pod was removed, or its node went away, while the run still needed it.",
        "Run again; look for what deletes pods with our labels, and at the node's events.",
        r"\bNodeLost\b|NodeNotReady",
    ),
    fatal(
        "kubernetes-refused",
        "kubernetes",
        "The Kubernetes API refused an object.",
        "Read its words: the namespace is missing, or a setting does not fit this cluster.",
        r"SysctlForbidden|forbidden sysctl",
    ),
)
