"""Which enclave image a Docker host runs: pinned by a setting, or the latest that was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.enclave_image import EnclaveImage
from confidential_spark.core.errors import ConfigurationError, EnclaveError
from confidential_spark.hooks.enclave_container import ask_engine
from confidential_spark.operators.docker_enclave import connect
from confidential_spark.operators.image_published import ResolvePublishedImageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from docker.api import APIClient

IMAGE_ABSENT = "image-not-found"


class ResolveDockerImageOperator(ResolvePublishedImageOperator):
    """Find the enclave image by digest, on the engine, and refuse it unless the policy allows it."""

    def pinned_image(self, context: Context) -> EnclaveImage | None:
        """Return the image that the deployment names, pulled where the engine does not have it."""
        reference = self.settings.dcsv3_image
        if reference is None:
            return None
        digest = reference.rpartition("@")[2]
        return EnclaveImage.from_labels(reference, digest, image_labels(connect(self.settings), reference))

    def published_image(self, context: Context, trust: str) -> EnclaveImage:
        """Return the image of the latest event, which must be what the engine's image says of itself.

        :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
        """
        said = super().published_image(context, trust)
        labels = image_labels(connect(self.settings), said.reference)
        found = EnclaveImage.from_labels(said.reference, said.digest, labels)
        if found != said:
            raise ConfigurationError(
                "The published image says something else of itself than its publication.",
                code="image-malformed",
                got=found,
                expected=said,
                action="run DAG enclave_image again; if it happens again, treat it as an incident",
            )
        return found


def image_labels(client: APIClient, reference: str) -> dict[str, str]:
    """Return the labels of an image, pulled by digest where the engine does not have it.

    :raises EnclaveError: ``image-not-found`` and what else the engine or the registry say.
    """
    try:
        image = ask_engine(lambda: client.inspect_image(reference))
    except EnclaveError as error:
        if error.code != IMAGE_ABSENT or "@" not in reference:
            raise
        ask_engine(lambda: client.pull(reference))
        image = ask_engine(lambda: client.inspect_image(reference))
    return dict(image["Config"]["Labels"] or {})
