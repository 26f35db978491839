"""What Kubernetes, the SGX hardware and the attestation service say.

Sources: Intel SGX SDK `sgx_error.h` and DCAP `sgx_ql_lib_common.h` (hex codes), Occlum's PAL and LibOS
messages, Kubernetes' own messages, and the seed's known issues.
"""

from __future__ import annotations

from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.failures.model import Failure, fatal, transient

CLUSTER: tuple[Failure, ...] = (
    fatal(
        "deadline-exceeded",
        "kubernetes",
        "The pod ran longer than it may and was stopped.",
        "Find out why it is slow, or raise spark_timeout_minutes.",
        r"DeadlineExceeded(?! desc = )",  # which is the word of a container runtime's own calls
        r"active on the node longer than the specified deadline",
    ),
)

HARDWARE: tuple[Failure, ...] = (
    fatal(
        "sgx-device-missing",
        "sgx-device",
        "The process sees no SGX device.",
        "Use a DCsv3/DCdsv3 machine, and hand /dev/sgx/enclave and /dev/sgx/provision to the container.",
        r"Invalid SGX device",
        r"Cannot open (?:device )?/dev/(?:isgx|sgx)",
        r"SGX_ERROR_NO_DEVICE|error code 0x2006",
        r"/dev/(?:isgx|sgx[/_](?:enclave|provision)).{0,120}(?:[Nn]o such file or directory|does not exist)",
    ),
    fatal(
        "sgx-device-denied",
        "sgx-device",
        "The process may not open the SGX device.",
        "Give the container's user the group that owns the devices (sgx, sgx_prv); never use privileged.",
        r"/dev/sgx[/_](?:enclave|provision).{0,120}(?:Permission denied|EACCES|Operation not permitted)",
        r"SGX_ERROR_SERVICE_INVALID_PRIVILEGE|(?:error code|QE3:) 0x4004\b",
    ),
    fatal(
        "enclave-mode-mismatch",
        "sgx-device",
        "A simulation build was started as a hardware enclave, or the other way round.",
        "Build the image again for the platform it runs on.",
        r"SGX_ERROR_MODE_INCOMPATIBLE|error code 0x200e",
    ),
    fatal(
        "enclave-signature-invalid",
        "enclave-start",
        "The processor refused the enclave's signature.",
        "Build and sign the image again; an image must not be changed after signing.",
        r"SGX_ERROR_INVALID_SIGNATURE|error code 0x2003",
    ),
    transient(
        "epc-exhausted",
        "enclave-memory",
        "The machine has no free enclave page cache.",
        "Run fewer enclaves at once (pool enclave_<platform>) or use a larger machine.",
        r"SGX_ERROR_OUT_OF_EPC|error code 0x2005",
        r"[Oo]ut of EPC",
        r"SGX_QL_OUT_OF_EPC|p_sgx_get_quote_config API\. 0xe012",
    ),
    fatal(
        "enclave-memory-exhausted",
        "enclave-memory",
        "The enclave's own memory (Occlum user space or kernel heap) is too small for the job.",
        "Raise the enclave's user space size above JVM heap + metaspace + Python, and build the image again.",
        r"failed to create process VM",
        r"[Oo]ut-of-memory in library OS",
        r"ENOMEM \(#12",
        r"occlum-pal: .{0,120}(?:ENOMEM|error code 0x3\b)",
        r"can't allocate free chunks",
        # The thread stack that LibOS gives out of the enclave's memory (SGX_ERROR_STACK_OVERRUN).
        r"error code 0x1009\b|SGX_ERROR_STACK_OVERRUN",
    ),
    fatal(
        "enclave-syscall-missing",
        "enclave-start",
        "The program called something that Occlum does not implement.",
        "Read which call it was; start no shell or further program from the job (no fork, no execve).",
        r"Error = ENOSYS",
        r"[Uu]nimplemented or unknown syscall",
        r"error=38, Function not implemented",
    ),
    fatal(
        "kernel-too-old",
        "sgx-device",
        "The kernel does not let programs use the FSGSBASE instructions that enclaves need.",
        "Use Linux 5.9 or newer without `nofsgsbase`; `platform_check` shows the kernel of the host.",
        r"SIGILL Caught",
        r"pal_check_fsgsbase",
    ),
    fatal(
        "enclave-threads-exhausted",
        "enclave-memory",
        "The enclave has fewer thread slots than the JVM wants.",
        "Raise max_num_of_threads in the enclave's settings, and build the image again.",
        r"SGX_ERROR_OUT_OF_TCS|error code 0x1003",
        r"no available TCS pages left",
    ),
    transient(
        "enclave-lost",
        "enclave-start",
        "The enclave's memory was lost: the machine was suspended, moved or re-deployed.",
        "Run again; a VM with enclaves must not be live-migrated.",
        r"SGX_ERROR_ENCLAVE_LOST|error code 0x4\b",
        r"Power transition occurred",
    ),
    transient(
        "aesm-unavailable",
        "quote",
        "The SGX architectural enclave service (AESM) did not answer.",
        "Start aesmd, or wait until it has started; use in-process quoting inside containers.",
        r"SGX_ERROR_SERVICE_UNAVAILABLE|(?:error code|QE3:) 0x400[1-3]\b",
        r"aesm\.socket.{0,80}(?:No such file|Connection refused)",
        r"bind source path does not exist: .{0,80}aesm",
    ),
    transient(
        "pck-service-unreachable",
        "quote",
        "The service that knows the platform's certificate did not answer.",
        "Check the way from the machine to the certificate cache (THIM or PCCS), then run again.",
        # Of sgx_ql_lib_common.h: network error, and the range of what the certificate service answers.
        r"p_sgx_get_quote_config API\. 0xe0(?:19|4[0-5])",
        r"SGX_QL_NETWORK_ERROR|SGX_QL_ERROR_STATUS_",
        r"\[QPL\] Failed to get quote config\. Error code is 0xb0[0-9a-f]{2}",
    ),
    fatal(
        "quote-config-invalid",
        "quote",
        "The quote provider's configuration cannot be read.",
        "Correct /etc/sgx_default_qcnl.conf (JSON; the line before names the place) in the image.",
        r"\[QCNL\] Load JSON config error",
        r"p_sgx_get_quote_config API\. 0xe06[0-9a-f]",
        r"SGX_QL_CONFIG_INVALID_JSON",
    ),
    fatal(
        "no-pck-certificate",
        "quote",
        "No PCK certificate was found for this platform, so no quote can be made.",
        "Install the Azure DCAP client (az-dcap-client) and remove Intel's default quote provider library.",
        r"p_sgx_get_quote_config returned NULL",
        r"p_sgx_get_quote_config API\. 0xe0(?:11|46|47)",
        r"SGX_QL_NO_PLATFORM_CERT_DATA",
        r"No certificate data for this platform",
        r"libdcap_quoteprov\.so",
        r"Couldn't (?:find|load) the (?:platform|quote provider) library|SGX_QL_PLATFORM_LIB_UNAVAILABLE",
        r"IOCTR?L IOCTL_GET_DCAP_QUOTE_SIZE failed",
    ),
)

ATTESTATION_REFUSED: tuple[Failure, ...] = (
    fatal(
        "attestation-insecure-url",
        "attestation-service",
        "The attestation service's address is not https.",
        "Correct the connection; plain http is accepted on loopback only.",
    ),
    fatal(
        "attestation-redirected",
        "attestation-service",
        "The attestation service answered with a redirect, which is never followed.",
        "Enter the provider's final address in the connection.",
    ),
    fatal(
        "attestation-too-large",
        "attestation-service",
        "The attestation service's answer is larger than any real answer.",
        "Check that the connection names an attestation provider and not some other site.",
    ),
    fatal(
        "attestation-garbage",
        "attestation-service",
        "The attestation service's answer is not what its API promises.",
        "Check the address and the proxy between; a log-in page of a proxy is the usual cause.",
    ),
    fatal(
        "attestation-refused",
        "attestation-service",
        "The attestation service refused the quote.",
        "Read its error code: the quote, its binding to the runtime data or the tenant's policy is wrong.",
        exits=(ExitCode.ATTESTATION_REFUSED,),
    ),
)

ATTESTATION_AWAY: tuple[Failure, ...] = (
    transient(
        "attestation-throttled",
        "attestation-service",
        "The attestation service is receiving too many requests (429).",
        "Wait; run fewer enclaves at once, or use a provider of your own instead of the shared one.",
    ),
    transient(
        "attestation-timeout",
        "attestation-service",
        "The attestation service did not answer in time.",
        "Run again; check the network and the service's health when it repeats.",
    ),
    transient(
        "attestation-unreachable",
        "attestation-service",
        "The attestation service could not be reached, or was unable to answer.",
        "Check name, firewall and proxy between the enclave and the service, then run again.",
        exits=(ExitCode.SERVICE_UNAVAILABLE,),
    ),
)

ENCLAVE_START: tuple[Failure, ...] = (
    fatal(
        "enclave-start-failed",
        "enclave-start",
        "Occlum could not start the program inside the enclave.",
        "Read the lines above it for the reason; check that the program and its libraries are in the image.",
        r"occlum-pal: Failed to (?:create enclave|run the init process)",
        r"failed to boot up LibOS",
        r"load_enclave\(\) failed",
    ),
)

NODES: tuple[Failure, ...] = (
    transient(
        "enclave-capacity-missing",
        "kubernetes",
        "No node has enough free enclave memory (sgx.intel.com/epc) for the pod.",
        "Wait for other enclaves to end, add SGX nodes, or check that the SGX device plugin runs.",
        r"Insufficient sgx\.intel\.com/epc",
    ),
    transient(
        "pod-unschedulable",
        "kubernetes",
        "Kubernetes found no node for the pod in time.",
        "Read the pod's events: node selector, taints, CPU and memory requests, quota.",
        r"FailedScheduling",
        r"0/[0-9]{1,5} nodes are available",
        r"PodLaunch(?:Timeout|Failed)Exception",
    ),
)

SECRETS: tuple[Failure, ...] = (
    fatal(
        "secrets-denied",
        "secrets",
        "The vault of Airflow's connections refused this machine's identity.",
        "Give the identity the right to read secrets: the role Key Vault Secrets User.",
    ),
    transient(
        "secrets-unreachable",
        "secrets",
        "The vault of Airflow's connections gave no usable answer.",
        "Check its address in `[secrets] backend_kwargs`, then DNS, firewall and private endpoints.",
    ),
)
