"""Build, sign and measure the enclave image: the tasks of DAG `enclave_image` that use the Docker engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from confidential_spark.agent.protocol import SIMULATED_NOTICE, TRUST_HARDWARE, TRUST_SIMULATED
from confidential_spark.image_build.candidate import DESCRIPTION, ImageCandidate, ImageInputs, revision_of
from confidential_spark.image_build.settings import ImageSettings, image_settings
from confidential_spark.operators.base import (
    DONE,
    STARTED,
    airflow_failures,
    require_known_params,
)
from confidential_spark.platforms.docker.settings import docker_settings
from confidential_spark.settings import PROJECT_DIR, Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import Context
    from docker.api import APIClient

    from confidential_spark.image_build.context import BuildContext
    from confidential_spark.image_build.one_shot import OneShot, OneShotContainer
    from confidential_spark.platforms.docker.images import ImageStore
    from confidential_spark.verification import Policy

REPOSITORY = "confidential-spark/enclave"


class ImageOperator(BaseOperator):
    """Base of the tasks: subclasses write :meth:`run`, and raise this project's errors."""

    def execute(self, context: Context) -> Any:
        """Run, with policy failures final and network failures retried."""
        self.log.info("%s %s", STARTED, self.task_id)
        with airflow_failures(self.log, context["ti"]):
            require_known_params(context)
            return self.run(context)

    def run(self, context: Context) -> Any:
        """Do the work and return a small XCom value."""
        raise NotImplementedError

    def announce(self, outcome: str) -> None:
        """Log the task's outcome in one line."""
        self.log.info("%s %s: %s", DONE, self.task_id, outcome)

    @property
    def settings(self) -> Settings:
        """The deployment's settings, read at run time, never at parse time."""
        return get_settings()

    @property
    def sources(self) -> ImageSettings:
        """What to build images of, and for which policy."""
        return image_settings()

    def policy(self) -> Policy:
        """Return the policy that decides what is built, and who may run."""
        # Imported late, here and below: DAG files import this module, and need none of it to be parsed.
        from confidential_spark.verification import load_policy

        policy = load_policy(self.settings.policy_file(self.sources.policy))
        if policy.trust == TRUST_SIMULATED:
            self.log.warning(SIMULATED_NOTICE)
        return policy


class EngineImageOperator(ImageOperator):
    """Base of the tasks that talk with the Docker engine."""

    _container: str | None = None

    @cached_property
    def client(self) -> APIClient:
        """The connection's engine."""
        from confidential_spark.platforms.docker.engine import EngineAddress

        return EngineAddress.of_connection(docker_settings().conn_id).connect()

    def store(self, context: Context) -> ImageStore:
        """Return the engine's images; what the engine says goes to the log and to the task's page."""
        from confidential_spark.image_build.build_log import BuildLog
        from confidential_spark.platforms.docker.images import ImageStore

        self.build_log = BuildLog(self.log, context)
        return ImageStore(self.client, self.build_log)

    @contextmanager
    def container(self, spec: OneShot) -> Iterator[OneShotContainer]:
        """Make a container for one command; it is removed at the end, also when the task is stopped."""
        from confidential_spark.image_build.one_shot import one_shot

        self._container = spec.name
        with one_shot(self.client, spec) as container:
            yield container

    def say(self, line: str) -> None:
        """Log a line of a container."""
        self.log.info("%s", line)

    def on_kill(self) -> None:
        """Remove the container, which ends the task; without one, the engine notices that nobody listens."""
        from confidential_spark.image_build.one_shot import remove

        if self._container:
            remove(self.client, self._container)


class ResolveInputsOperator(EngineImageOperator):
    """Gather and check everything the image is built from; nothing is built yet."""

    def run(self, context: Context) -> dict[str, Any]:
        """Return what the image is made from, by digest."""
        from confidential_spark.image_build.inputs import resolve_context, sign_key, source_revision

        policy, ready = self.policy(), docker_settings().image
        trust = policy.trust
        if ready:
            self.announce(f"nothing to build, the ready image is {ready}")
            return asdict(ImageInputs(trust, pull=ready))
        build = resolve_context(trust, self.settings, self.sources, self.store(context))
        self.record(build, policy)
        inputs = ImageInputs(
            trust,
            inputs_sha256=build.inputs_sha256,
            mrsigner=sign_key(trust, self.settings, self.sources).mrsigner,
            revision=self.sources.source_revision or source_revision(PROJECT_DIR),
        )
        self.announce(f"{len(build.files)} files · inputs {build.inputs_sha256[:12]}…")
        return asdict(inputs)

    def record(self, build: BuildContext, policy: Policy) -> None:
        """Keep the list of inputs for whoever decides about the image."""
        from confidential_spark.image_build.context import record_inputs

        if not policy.identities.needs_ledger:
            return
        try:
            record_inputs(policy.approvals_path, build)
        except OSError as error:
            # A deployment's ledger can be read-only: its images were approved elsewhere.
            self.log.warning("The list of inputs is not kept, so no page can compare them: %s", error)


class BuildImageOperator(EngineImageOperator):
    """Build the image, or find the one that was built of the same inputs, or pull a ready one.

    :param inputs: what `resolve_inputs` returned.
    """

    template_fields = ("inputs",)

    def __init__(self, *, inputs: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs

    def run(self, context: Context) -> dict[str, Any]:
        """Return the image, signed or not."""
        inputs, store = ImageInputs(**self.inputs), self.store(context)
        if inputs.pull:
            return asdict(self.pulled(inputs.pull, store))
        if found := store.find(inputs.signed_labels, DESCRIPTION):
            self.announce(f"nothing to do: {found.image_id[:19]}… was built and signed of the same inputs")
            return asdict(ImageCandidate.on_engine(found.image_id, signed=True))
        if found := store.find(inputs.unsigned_labels, DESCRIPTION):
            self.announce(f"nothing to do: {found.image_id[:19]}… was built of the same inputs")
            return asdict(ImageCandidate.on_engine(found.image_id, signed=False))
        image_id = self.built(inputs, store)
        self.announce(f"built {image_id[:19]}…")
        return asdict(ImageCandidate.on_engine(image_id, signed=False))

    def pulled(self, reference: str, store: ImageStore) -> ImageCandidate:
        """Return the ready image, pulled unless the engine has it."""
        from confidential_spark.platforms.docker.engine import RegistryLogin

        image = store.inspect(reference)
        if image is None:
            login = RegistryLogin.of_connection(docker_settings().registry_conn_id)
            with self.build_log.group(f"Pulling {reference}"):
                image = store.pull(reference, login)
        self.announce(f"the engine has {reference}")
        return ImageCandidate(image.image_id, reference, signed=True)

    def built(self, inputs: ImageInputs, store: ImageStore) -> str:
        """Build, of exactly the inputs that were resolved, and return the image's id."""
        from confidential_spark.image_build.context import changed
        from confidential_spark.image_build.inputs import resolve_context

        build = resolve_context(inputs.trust, self.settings, self.sources, store)
        if build.inputs_sha256 != inputs.inputs_sha256:
            raise changed("the inputs as a whole", build.inputs_sha256, str(inputs.inputs_sha256))
        labels = inputs.unsigned_labels | inputs.description(build, self.base_name(inputs.trust))
        with self.build_log.group("Sending the build context"):
            return store.build(build.tar(), build_args=build.build_args, labels=labels)

    def base_name(self, trust: str) -> str:
        """Return what people call the image that the build starts from."""
        hardware = trust == TRUST_HARDWARE
        return str(self.sources.occlum_base) if hardware else self.sources.base


class SignEnclaveOperator(EngineImageOperator):
    """Let Occlum build and sign the enclave in a container of the image, and keep that as the signed image.

    The sign key goes to the container's standard input, and lies there on a tmpfs: in no layer, no label, no
    environment and no log.

    :param inputs: what `resolve_inputs` returned.
    :param image: what `build_image` returned.
    """

    template_fields = ("inputs", "image")

    def __init__(self, *, inputs: Mapping[str, Any], image: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.image = image

    def run(self, context: Context) -> dict[str, Any]:
        """Return the signed image."""
        inputs, image = ImageInputs(**self.inputs), ImageCandidate(**self.image)
        store = self.store(context)
        if image.signed:
            self.announce("nothing to do: the enclave is signed")
            return asdict(image)
        # A try that was killed after its last step has left the result.
        if found := store.find(inputs.signed_labels, DESCRIPTION):
            self.announce(f"nothing to do: {found.image_id[:19]}… was signed by an earlier try")
            return asdict(ImageCandidate.on_engine(found.image_id, signed=True))
        image_id = self.signed(inputs, image)
        self.announce(f"signed {image_id[:19]}…")
        return asdict(ImageCandidate.on_engine(image_id, signed=True))

    def signed(self, inputs: ImageInputs, image: ImageCandidate) -> str:
        """Run the signing container and return the id of the image it became."""
        from confidential_spark.image_build.containers import MEASURE, signed_labels, signing
        from confidential_spark.image_build.inputs import sign_key

        key = sign_key(inputs.trust, self.settings, self.sources)
        with self.container(signing(image.image_id)) as container:
            with self.build_log.group("Occlum builds and signs the enclave"):
                output = container.run(key.pem, self.say)
            return container.commit(signed_labels(output, inputs), MEASURE)


class MeasureEnclaveOperator(EngineImageOperator):
    """Measure the signed image anew: signed binary, `occlum print` and labels must say the same.

    :param image: what `sign_enclave` returned.
    """

    template_fields = ("image",)

    def __init__(self, *, image: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image = image

    def run(self, context: Context) -> dict[str, Any]:
        """Return the image as the asset event will describe it, and the revision it was built from."""
        from confidential_spark.enclave.image import EnclaveImage
        from confidential_spark.image_build.containers import measuring, require_measured

        candidate, store = ImageCandidate(**self.image), self.store(context)
        stored = store.require(candidate.image_id)
        image = EnclaveImage.from_labels(candidate.reference, candidate.digest, stored.labels)
        with self.container(measuring(candidate.image_id)) as container:
            output = container.run(b"", self.say)
        require_measured(image, output)
        store.tag(candidate.image_id, REPOSITORY, f"{image.trust}-{image.mrenclave[:12]}")
        self.announce(f"MRENCLAVE {image.mrenclave[:12]}… · MRSIGNER {image.mrsigner[:12]}… · {image.trust}")
        return {"image": image.to_xcom(), "revision": revision_of(stored.labels)}
