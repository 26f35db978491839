"""The runner's jars: what keeps strangers out of Spark's JVM, and what runs the SQL in it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.protocol import sha256_hex

RUNNER_DIR = Path(__file__).resolve().parents[2] / "enclave" / "jvm"
DIGESTS = "jars.sha256"


class Lock(Enum):
    """What stands between Spark's JVM and the network.

    The value is what comes before Spark on the class path. The runner ends at once where it is not there.
    """

    # All of Spark in one process: no server, no connection.
    NO_SOCKETS = ("no-server.jar", "runner.jar")
    # Driver and executors in pods: no message but the authentication's before a connection is encrypted.
    GATE = ("gate.jar", "runner.jar")

    @property
    def jars(self) -> list[str]:
        """Their paths, in the order of the class path."""
        return [str(RUNNER_DIR / name) for name in self.value]

    @property
    def jvm_options(self) -> list[str]:
        """Options that come after the host's, because the last one counts."""
        # A debugger's connection would be one more way in.
        alone = ["-XX:+DisableAttachMechanism"]
        if self is Lock.GATE:
            return alone
        return [
            *alone,
            "-Djava.nio.channels.spi.SelectorProvider=confidentialspark.NoSockets",
            "-Djava.nio.channels.spi.AsynchronousChannelProvider=confidentialspark.NoAsynchronousSockets",
        ]

    @staticmethod
    def digests() -> dict[str, str]:
        """Return every jar's SHA-256 (hex) by its name.

        :raises OSError: one cannot be read.
        """
        return {path.name: sha256_hex(path.read_bytes()) for path in sorted(RUNNER_DIR.glob("*.jar"))}

    def require_genuine(self) -> None:
        """Refuse jars that are not the ones of this version.

        :raises AgentError: ``runner-jar-changed``.
        """
        try:
            expected = _listed((RUNNER_DIR / DIGESTS).read_text(encoding="ascii"))
            found = self.digests()
        except (OSError, ValueError) as error:
            raise _changed(str(error)) from error
        for name in self.value:
            if name not in found or found[name] != expected.get(name):
                raise _changed(f"{name} with SHA-256 {found.get(name, 'of nothing: it is missing')}")


def _listed(text: str) -> dict[str, str]:
    """Return name → digest of lines as `sha256sum` writes them.

    :raises ValueError: a line is not of that form.
    """
    entries = (line.split("  ", 1) for line in text.splitlines())
    return {name: digest for digest, name in entries}


def _changed(got: str) -> AgentError:
    return AgentError(
        "The runner's jars are not this version's.",
        code="runner-jar-changed",
        got=got,
        expected=f"the jars that {DIGESTS} lists",
        action="install again; after a change of its sources, `make runner`",
    )
