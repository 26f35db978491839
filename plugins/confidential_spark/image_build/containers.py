"""The two containers that make an enclave image: one signs, one measures; and what their output must say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.errors import EnclaveError
from confidential_spark.enclave import layout
from confidential_spark.enclave.image import IDENTITY_FIELDS, EnclaveImage, read_identity
from confidential_spark.image_build.one_shot import OneShot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.image_build.candidate import ImageInputs

MEASURE = "measure"
# Megabytes. What is written here is never part of the image that the container becomes.
SCRATCH = {str(layout.RUN_DIR): 64, str(layout.TEMPORARY_DIR): 1024}


def signing(image_id: str) -> OneShot:
    """Return the container that builds and signs; its name is the same for every try of the same image."""
    return OneShot(
        name=f"confidential-spark-sign-{_short(image_id)}",
        image=image_id,
        command=(layout.BUILD_ENCLAVE_COMMAND,),
        tmpfs={**SCRATCH, str(layout.SIGN_DIR): 1},
        read_only=False,
    )


def measuring(image_id: str) -> OneShot:
    """Return the container that measures."""
    return OneShot(
        name=f"confidential-spark-measure-{_short(image_id)}",
        image=image_id,
        command=(MEASURE,),
        tmpfs=SCRATCH,
        read_only=True,
    )


def signed_labels(output: Sequence[str], inputs: ImageInputs) -> dict[str, str]:
    """Return the labels of the image that was just signed.

    :param output: of `build-enclave`; its last line is the identity.
    :raises EnclaveError: ``measurement-unreadable``, ``signer-mismatch``, ``measurement-mismatch``.
    """
    identity = read_identity(output)
    _require_signer(identity["mrsigner"], inputs.mrsigner)
    _require_equal("trust", identity["trust"], inputs.trust)
    # No label holds the first two.
    image = EnclaveImage(reference="", digest="", inputs_sha256=str(inputs.inputs_sha256), **identity)
    return image.labels() | inputs.signed_labels


def require_measured(image: EnclaveImage, output: Sequence[str]) -> None:
    """Refuse an image whose labels say anything else than its signed enclave.

    :param output: of `measure`; its last line is the identity.
    :raises EnclaveError: ``measurement-unreadable``, ``measurement-mismatch``.
    """
    identity = read_identity(output)
    for name in IDENTITY_FIELDS:
        _require_equal(name, identity[name], getattr(image, name))


def _require_equal(name: str, measured: object, said: object) -> None:
    if measured != said:
        raise EnclaveError(
            f"The image and its signed enclave disagree about {name}.",
            code="measurement-mismatch",
            got=f"the image says {said}",
            expected=f"{measured} as measured",
            action="remove the image from the engine, find out who changed it, then build it again",
        )


def _require_signer(got: str, expected: str | None) -> None:
    """Refuse an enclave that another key has signed, Occlum's public development key for one."""
    if got != expected:
        raise EnclaveError(
            "The enclave was signed with a key that is not the deployment's.",
            code="signer-mismatch",
            got=got,
            expected=expected,
            action="look into the signing task's log; do not use the image",
        )


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:16]
