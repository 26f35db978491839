"""Which enclave image a Docker host runs: pinned by a setting, or the latest that was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.enclave.image import EnclaveImage
from confidential_spark.operators.image_published import ResolvePublishedImageOperator
from confidential_spark.platforms.docker.container import ask_engine
from confidential_spark.platforms.docker.enclave import connect
from confidential_spark.platforms.docker.images import ImageStore
from confidential_spark.platforms.docker.registry import RegistryLogin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


class ResolveDockerImageOperator(ResolvePublishedImageOperator):
    """Find the enclave image by digest, on the engine, and refuse it unless the policy allows it."""

    def pinned_image(self, context: Context) -> EnclaveImage | None:
        """Return the image that the deployment names, pulled where the engine does not have it."""
        reference = self.settings.dcsv3_image
        if reference is None:
            return None
        return EnclaveImage.from_labels(reference, reference.rpartition("@")[2], self.labels_of(reference))

    def published_image(self, context: Context, trust: str) -> EnclaveImage:
        """Return the image of the latest event, which must be what the engine's image says of itself.

        :raises ConfigurationError: ``image-not-published``, ``image-malformed``.
        """
        said = super().published_image(context, trust)
        found = EnclaveImage.from_labels(said.reference, said.digest, self.labels_of(said.reference))
        if found != said:
            raise ConfigurationError(
                "The published image says something else of itself than its publication.",
                code="image-malformed",
                got=found,
                expected=said,
                action="run DAG enclave_image again; if it happens again, treat it as an incident",
            )
        return found

    def labels_of(self, reference: str) -> Mapping[str, str]:
        """Return the labels of an image, pulled by digest where the engine does not have it.

        :raises ConfigurationError: ``registry-connection-…``.
        :raises EnclaveError: ``image-not-found`` and what else the engine or the registry say.
        """
        store = ImageStore(connect(self.settings), lambda line, _: self.log.info("%s", line))
        image = ask_engine(lambda: store.inspect(reference))
        if image is None and "@" in reference:
            login = RegistryLogin.of_connection(self.settings.image_registry_conn_id)
            image = ask_engine(lambda: store.pull(reference, login))
        return (image or store.require(reference)).labels
