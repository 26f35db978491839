"""`occlum` for the simulated image: the same command line, and a native process instead of an enclave.

    occlum new <folder> | occlum init | occlum build --sign-key <file>
    occlum run <program> [arguments] | occlum print mrenclave|mrsigner

`build` measures and signs as Occlum does; `run` refuses what was changed since, as the processor does. What
it cannot do is keep the host out: SIMULATED – proves nothing about hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from confidential_spark.agent.errors import ExitCode
from confidential_spark.agent.protocol import SIMULATED_NOTICE, canonical_json
from confidential_spark.core.errors import ConfidentialSparkError, EnclaveError
from confidential_spark.enclave import layout as image_layout
from confidential_spark.enclave.container import sigstruct
from confidential_spark.enclave.occlum_config import EnclaveSizing, render_occlum_json
from confidential_spark.simulation.enclave.files import measured_files, require_unchanged
from confidential_spark.simulation.service.relay import emulator_relay
from confidential_spark.simulation.service.server import LoopbackAttestationService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from confidential_spark.enclave.container.sigstruct import SignedIdentity

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ROOT = Path("/")


@dataclass(frozen=True)
class Instance:
    """An Occlum instance: the folder in which the commands are given."""

    folder: Path

    @property
    def status(self) -> Path:
        """Where Occlum notes how far the instance is."""
        return self.folder / ".__occlum_status"

    @property
    def image(self) -> Path:
        """What `build` takes into the enclave."""
        return self.folder / "image"

    @property
    def configuration(self) -> Path:
        """`Occlum.json`."""
        return self.folder / "Occlum.json"

    @property
    def measured(self) -> Path:
        """The listing of what was measured, in place of Occlum's encrypted file system."""
        return self.folder / "build" / "measured.json"

    @property
    def signed_enclave(self) -> Path:
        """What carries the SIGSTRUCT."""
        return self.folder / image_layout.SIGNED_ENCLAVE.relative_to(image_layout.ENCLAVE_DIR)


@dataclass(frozen=True)
class Configuration:
    """What the stand-in reads of `Occlum.json`; the rest is measured only."""

    product_id: int
    svn: int
    debuggable: bool
    entry_points: list[str]
    default_environment: list[str]
    untrusted_names: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command in the present folder, and return its exit code."""
    options = _options(arguments)
    instance = Instance(Path.cwd())
    try:
        if options.command == "new":
            options.folder.mkdir(parents=True)
            instance = Instance(options.folder.absolute())
        if options.command in ("new", "init"):
            initialise(instance)
        elif options.command == "build":
            build(instance, options.sign_key)
        elif options.command == "print":
            print(getattr(signed_identity(instance), options.what))
        else:
            return run(instance, options.program)
    except (ConfidentialSparkError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="occlum", description=SIMULATED_NOTICE, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("new").add_argument("folder", type=Path)
    commands.add_parser("init")
    commands.add_parser("build").add_argument("--sign-key", type=Path, required=True)
    commands.add_parser("run").add_argument("program", nargs=argparse.REMAINDER)
    commands.add_parser("print").add_argument("what", choices=("mrenclave", "mrsigner"))
    return parser.parse_args(arguments)


def initialise(instance: Instance) -> None:
    """Make an instance with an empty image and, as Occlum's template, a debuggable configuration.

    :raises EnclaveError: ``enclave-initialised``.
    """
    if instance.status.exists():
        raise _unusable("enclave-initialised", "This is an Occlum instance already.", "a new folder")
    instance.image.mkdir()
    instance.configuration.write_text(render_occlum_json(EnclaveSizing(debug=True)), encoding="utf-8")
    instance.status.write_text("initialized\n", encoding="ascii")


def build(instance: Instance, sign_key: Path) -> None:
    """Measure the image and the configuration, and sign the measurement.

    :param sign_key: PEM file with an RSA-3072 key, exponent 3.
    :raises EnclaveError: ``enclave-not-initialised``, ``sign-key-invalid``, ``occlum-json-invalid``.
    """
    if not instance.status.exists():
        raise _unusable("enclave-not-initialised", "There is no Occlum instance here.", "`occlum init`")
    configuration = read_configuration(instance)
    key = _read_key(sign_key)
    files = measured_files(instance.image)
    signed = sigstruct.sign(
        key,
        mrenclave=_measurement(instance, files),
        product_id=configuration.product_id,
        svn=configuration.svn,
        debuggable=configuration.debuggable,
    )
    instance.signed_enclave.parent.mkdir(parents=True, exist_ok=True)
    instance.measured.write_bytes(canonical_json(files))
    instance.signed_enclave.write_bytes(SIMULATED_NOTICE.encode() + b"\n" + signed)
    (instance.folder / "run" / "mount" / "__ROOT").mkdir(parents=True, exist_ok=True)
    instance.status.write_text("built\n", encoding="ascii")
    print(f"Built and signed the simulated enclave · {SIMULATED_NOTICE}")


def run(instance: Instance, program: Sequence[str], root: Path = ROOT) -> int:
    """Check that the enclave is as it was signed, then run a program of it.

    :param program: the program's path, an entry point of the configuration or below one, and its arguments.
    :param root: where the enclave's files are.
    :returns: the program's exit code, or 128 and the number of the signal that ended it.
    :raises EnclaveError: ``enclave-not-built``, ``enclave-changed``, ``entry-point-refused``.
    """
    identity = signed_identity(instance)
    files = _read_json(instance.measured, "enclave-changed")
    if _measurement(instance, files).hex() != identity.mrenclave:
        raise _unusable("enclave-changed", "The enclave is not the one that was signed.", identity.mrenclave)
    require_unchanged(root, files)
    configuration = read_configuration(instance)
    _require_entry_point(program[0] if program else "", configuration.entry_points)
    print(f"{SIMULATED_NOTICE} · MRENCLAVE {identity.mrenclave}", flush=True)
    port = urlsplit(image_layout.SIMULATED_ATTESTATION_URL).port
    emulator = os.environ.get(image_layout.EMULATOR_VARIABLE, "")
    with LoopbackAttestationService(port or 0), emulator_relay(emulator):
        return _supervise(program, environment(configuration, identity))


def environment(configuration: Configuration, identity: SignedIdentity) -> dict[str, str]:
    """Return what the program finds in its environment: nothing of the host's but the names it may set."""
    allowed = {name: os.environ[name] for name in configuration.untrusted_names if name in os.environ}
    default = dict(entry.split("=", 1) for entry in configuration.default_environment)
    stated = {image_layout.SIMULATED_ENCLAVE_VARIABLE: json.dumps(asdict(identity))}
    return default | allowed | stated


def signed_identity(instance: Instance) -> SignedIdentity:
    """Return who the enclave is, by its SIGSTRUCT.

    :raises EnclaveError: ``enclave-not-built`` or ``sigstruct-invalid``.
    """
    try:
        binary = instance.signed_enclave.read_bytes()
    except FileNotFoundError as error:
        raise _unusable("enclave-not-built", "There is no signed enclave here.", "`occlum build`") from error
    return sigstruct.parse(next(sigstruct.find(binary), b""))


def read_configuration(instance: Instance) -> Configuration:
    """Read `Occlum.json`.

    :raises EnclaveError: ``occlum-json-invalid``.
    """
    document = _read_json(instance.configuration, "occlum-json-invalid")
    try:
        metadata, variables = document["metadata"], document["env"]
        return Configuration(
            product_id=int(metadata["product_id"]),
            svn=int(metadata["version_number"]),
            debuggable=bool(metadata["debuggable"]),
            entry_points=list(document["entry_points"]),
            default_environment=list(variables["default"]),
            untrusted_names=list(variables["untrusted"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable("occlum-json-invalid", "Occlum.json lacks something.", repr(error)) from error


def _require_entry_point(program: str, entry_points: Sequence[str]) -> None:
    """Compare whole components of the path, as Occlum's `validate_program_path` does."""
    path = PurePosixPath(program)
    if not path.is_absolute() or ".." in path.parts or not any(map(path.is_relative_to, entry_points)):
        raise EnclaveError(
            "The enclave cannot be entered there.",
            code="entry-point-refused",
            got=program or "no program",
            expected=", ".join(entry_points),
            action="start the enclave at its entry point, which Occlum.json names",
        )


def _supervise(program: Sequence[str], variables: dict[str, str]) -> int:
    """Run a child to its end and pass signals on to it; a stopped one never counts as a success."""
    stopped = False
    child: subprocess.Popen[bytes] | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if child is not None:
            child.send_signal(number)

    for number in STOPPING_SIGNALS:
        signal.signal(number, stop)
    child = subprocess.Popen(list(program), env=variables)
    if stopped:
        child.terminate()
    code = child.wait()
    if code < 0:
        return 128 - code
    return ExitCode.TERMINATED if stopped and code == 0 else code


def _measurement(instance: Instance, files: dict[str, str]) -> bytes:
    configuration = sha256(instance.configuration.read_bytes()).hexdigest()
    return sha256(canonical_json({"Occlum.json": configuration, "files": files})).digest()


def _read_key(path: Path) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise _unusable("sign-key-invalid", "The sign key is not readable.", "an unencrypted PEM") from error
    if not isinstance(key, RSAPrivateKey):
        raise _unusable("sign-key-invalid", "The sign key is of another kind.", "RSA-3072 with exponent 3")
    return key


def _read_json(path: Path, code: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise _unusable(code, f"{path.name} is not readable.", "JSON") from error


def _unusable(code: str, message: str, expected: str) -> EnclaveError:
    return EnclaveError(message, code=code, expected=expected, action="build the image again")


if __name__ == "__main__":
    sys.exit(main())
