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
        r"[Pp]ermission denied.{0,80}docker\.sock",
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
        r"No such container",
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
        r"/v2/.{0,300}: (?:401 Unauthorized|unauthorized)",
        r"denied: requested access to the resource is denied",
    ),
    transient(
        "image-pull-interrupted",
        "containers",
        "The registry refused or dropped the download of the image for now.",
        "Wait and run again; when it lasts, use a mirror or log in to lift the rate limit.",
        r"toomanyrequests",
        r"received unexpected HTTP status: 5[0-9]{2}",
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
        r"manifest for .{1,300} not found",
        r"No such image",
        r"pull access denied",
        r"ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull",
    ),
    fatal(
        "docker-refused",
        "containers",
        "The Docker engine refused what it was asked for.",
        "Read the engine's words: a mount, a limit, a user or a network that this host does not have.",
    ),
)
