"""What Docker engines and image registries say.

Sources: Docker 20.10 to 28 and its registry client; every line was printed by a real engine.
"""

from __future__ import annotations

from confidential_spark.core.failures.model import Failure, fatal, transient

ENGINE: tuple[Failure, ...] = (
    fatal(
        "docker-denied",
        "containers",
        "The user may not use the Docker engine's socket.",
        "Add Airflow's user to the group that owns the socket (docker), and start Airflow again.",
        r"docker\.sock.{0,80}[Pp]ermission denied",
        r"[Pp]ermission denied.{0,200}docker\.sock",
        r"permission denied while trying to connect to the Docker daemon socket",
        r"(?:podman|containerd)\.sock.{0,80}[Pp]ermission denied",
        r"Connection aborted\.', PermissionError",
    ),
    fatal(
        "docker-tls",
        "containers",
        "The Docker engine and this machine do not trust each other (TLS).",
        "Compare the connection's certificates with the engine's: same CA, not expired, the engine's name.",
        r"Client sent an HTTP request to an HTTPS server",
        r"TLS configurations should map the Docker CLI",
        r"Error while fetching server API version: .{0,300}SSLError",
    ),
    fatal(
        "docker-version",
        "containers",
        "The Docker engine speaks another version of its API.",
        "Remove the fixed API version from the operator, or update the engine to 20.10 or later.",
        r"client version [0-9.]{1,9} is too (?:new|old)",
        r"API versions below [0-9.]{1,9} are no longer supported",
    ),
    transient(
        "docker-unreachable",
        "containers",
        "The Docker engine did not answer.",
        "Start the engine (`systemctl start docker`) or the VM, or correct the engine's address.",
        r"Cannot connect to the Docker daemon",
        r"Error while fetching server API version",
        r"Failed to establish connection to any given Docker hosts",
        r"docker\.sock.{0,80}No such file",
        r"containerd\.sock.{0,80}(?:connection refused|no such file)",
    ),
    transient(
        "container-lost",
        "containers",
        "The container was removed while the run still needed it.",
        "Run again; keep clean-up jobs (`docker system prune`) away from containers with our labels.",
        r"[Nn]o such container",
        r"no container with name or ID",
        r"removal of container [0-9a-f]{1,64} is already in progress",
        r"container [0-9a-f]{1,64} is marked for removal",
        r"container which is dead or marked for removal",
    ),
    fatal(
        "container-name-taken",
        "containers",
        "Another container has the name already.",
        "Look at that container with `docker inspect`; remove it when no run needs it.",
        r"The container name \"[^\"]{1,300}\" is already in use",
    ),
)

CHECK: tuple[Failure, ...] = (
    fatal(
        "platform-not-ready",
        "platform-check",
        "The platform check found something that would fail a run.",
        "Read the table in the check's log: each FAIL row says what to do.",
    ),
)

IMAGES: tuple[Failure, ...] = (
    fatal(
        "registry-denied",
        "containers",
        "The registry refused the credentials.",
        "Correct login and password of the registry's connection; the account needs the right to pull.",
        r"no basic auth credentials",
        r"\bunauthorized: [a-z]",
        r"/v2/.{0,300}: (?:40[13] |unauthorized)",
        r"denied: requested access to the resource is denied",
        r"(?:failed to authorize|oauth2/token|pull image|pulling image|ErrImagePull).{0,400}\b40[13] [UF]",
        r"client with IP .{1,60} is not allowed access",
        r"(?:reading manifest|initializing source).{0,300}(?:authentication required|access denied|denied:)",
    ),
    fatal(
        "registry-tls",
        "containers",
        "The registry's TLS certificate is not trusted by the machine that pulls.",
        "Install the registry's CA where images are pulled; when it has expired, have it renewed.",
        r"x509: certificate ",
        r"tls: failed to verify certificate",
        r"server gave HTTP response to HTTPS client",
    ),
    fatal(
        "image-refused",
        "containers",
        "A signature policy of the machine that pulls refuses the image.",
        "Sign the image as the policy wants, or correct the policy; do not switch verification off.",
        r"SignatureValidationFailed",
        r"Source image rejected",
    ),
    transient(
        "image-pull-interrupted",
        "containers",
        "The registry refused or dropped the download of the image for now.",
        "Wait and run again; when it lasts, use a mirror or log in to lift the rate limit.",
        r"toomanyrequests",
        r"received unexpected HTTP status: 5[0-9]{2}",
        r"(?:failed to authorize|oauth2/token|/v2/|pull image|ErrImagePull).{0,400}\b5[0-9]{2} [A-Z]",
        r"pinging container registry .{1,300}(?:no such host|connection refused|i/o timeout)",
        r"(?:[Pp]ull|image) .{1,300}context (?:deadline exceeded|canceled)|RegistryUnavailable",
        r"(?:failed to (?:copy|do request)|ErrImagePull).{0,400}(?:connection reset|\bEOF|i/o timeout)",
        r"(?:pull|registry|manifests|blobs).{0,300}(?:TLS handshake timeout|i/o timeout|connection reset)",
        r"/v2/.{0,300}(?:connection refused|no such host|i/o timeout|EOF|Client\.Timeout|handshake timeout)",
    ),
    fatal(
        "image-not-found",
        "containers",
        "The enclave image does not exist under that name, or may not be read.",
        "Build the image, or correct its digest and the registry's connection.",
        r"manifest unknown",
        r"not found: name unknown",
        r"failed to resolve reference .{1,300}: not found",
        r"did not resolve to an alias",
        r"manifest for .{1,300} not found",
        r"No such image",
        r"pull access denied",
        r"ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull",
    ),
    fatal(
        "container-start-failed",
        "containers",
        "The engine could not start the container from its image.",
        "Read the runtime's words: a mount, a device, a limit or a security profile that this host lacks.",
        r"OCI runtime create failed|failed to create (?:shim|containerd) task",
        r"RunContainerError|CreateContainerError\b",
    ),
    fatal(
        "docker-refused",
        "containers",
        "The Docker engine refused what it was asked for.",
        "Read the engine's words: a mount, a limit, a user or a network that this host does not have.",
    ),
)
