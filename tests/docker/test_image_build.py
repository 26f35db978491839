"""The enclave image on a real engine: built once, signed without a trace of the key, refused when changed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError, EnclaveError
from confidential_spark.enclave.container.sign_key import SignKey
from confidential_spark.enclave.image import PREFIX
from confidential_spark.image_build.candidate import ImageCandidate
from confidential_spark.image_build.containers import signing
from confidential_spark.image_build.context import BuildContext, ContextFile
from confidential_spark.image_build.inputs import MACHINE_KEY
from confidential_spark.image_build.one_shot import OneShot, one_shot
from confidential_spark.image_build.operators import (
    BuildImageOperator,
    MeasureEnclaveOperator,
    ResolveInputsOperator,
    SignEnclaveOperator,
)
from confidential_spark.platforms.docker.images import ImageStore
from confidential_spark.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from confidential_spark.enclave.image import EnclaveImage

pytestmark = pytest.mark.docker
BLOCK = 4 * 1024 * 1024


@pytest.fixture
def store(engine) -> ImageStore:
    return ImageStore(engine.api, lambda line, messages: None)


@pytest.fixture
def nothing_is_left(engine) -> Iterator[None]:
    """Fails when the test leaves a container or a volume of its own on the engine."""
    before = present(engine)
    yield
    # Other tests' containers may end meanwhile; what is new and ours is what counts.
    assert not {name for name in present(engine) - before if "confidential-spark-" in name}


def present(engine) -> set[str]:
    containers = {f"container {container.name}" for container in engine.containers.list(all=True)}
    return containers | {f"volume {volume.name}" for volume in engine.volumes.list()}


def test_the_image_says_what_was_measured(enclave_image, engine) -> None:
    image = engine.images.get(enclave_image.reference)
    assert enclave_image.labels().items() <= image.labels.items()
    assert enclave_image.trust == "simulated"
    assert image.attrs["Config"]["User"] == "10001:10001"
    assert image.attrs["Config"]["Cmd"] == ["measure"]
    assert {variable.partition("=")[0] for variable in image.attrs["Config"]["Env"]} == {"PATH"}


def test_unchanged_inputs_build_and_sign_nothing(enclave_image, run_image_task, monkeypatch) -> None:
    inputs = run_image_task(ResolveInputsOperator)
    assert inputs["inputs_sha256"] == enclave_image.inputs_sha256, "or the sources were changed meanwhile"
    monkeypatch.setattr(ImageStore, "build", None)
    monkeypatch.setattr(SignEnclaveOperator, "signed", None)
    built = run_image_task(BuildImageOperator, inputs=inputs)
    signed = run_image_task(SignEnclaveOperator, inputs=inputs, image=built)
    measured = run_image_task(MeasureEnclaveOperator, image=signed)
    assert measured["image"] == enclave_image.to_xcom()


def test_a_signed_image_is_found_by_a_try_whose_predecessor_was_killed(
    enclave_image, run_image_task, monkeypatch
) -> None:
    monkeypatch.setattr(SignEnclaveOperator, "signed", None)
    inputs = {
        "trust": "simulated",
        "inputs_sha256": enclave_image.inputs_sha256,
        "mrsigner": enclave_image.mrsigner,
    }
    unsigned = {"image_id": "sha256:" + "0" * 64, "reference": "sha256:" + "0" * 64, "signed": False}
    found = run_image_task(SignEnclaveOperator, inputs=inputs, image=unsigned)
    assert ImageCandidate(**found) == ImageCandidate.on_engine(enclave_image.digest, signed=True)


def test_an_image_of_a_builds_middle_is_not_taken_for_the_built_one(engine, store, base_image) -> None:
    token = secrets.token_hex(8)
    text = f"FROM {base_image}\n".encode()
    labels = {"org.confidential-spark.a": token, "org.confidential-spark.z": "set last"}
    built = store.build(dockerfile_alone(text), build_args={}, labels=labels)
    wanted = {"org.confidential-spark.a": token}
    found = store.find(wanted, ["org.confidential-spark.z"])
    assert found is not None
    assert found.image_id == built
    engine.api.remove_image(built, noprune=True)
    assert store.find(wanted) is not None
    assert store.find(wanted, ["org.confidential-spark.z"]) is None


def contained(chunks: Iterable[bytes], needles: dict[str, bytes]) -> set[str]:
    """Return the names of those needles that a stream contains, across the cuts between chunks too."""
    longest = max(map(len, needles.values()))
    found, block = set(), b""
    for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK:
            found |= {name for name, needle in needles.items() if needle in block}
            block = block[-longest:]
    return found | {name for name, needle in needles.items() if needle in block}


def traces(key: SignKey) -> dict[str, bytes]:
    """What would be left of a private key: PEM lines, and its numbers in either order of bytes."""
    numbers = key.private.private_numbers()
    lines = key.pem.splitlines()[1:-1]
    found = {f"PEM line {number}": lines[number] for number in (5, len(lines) // 2, len(lines) - 2)}
    for name, number in (("d", numbers.d), ("p", numbers.p), ("q", numbers.q)):
        size = (number.bit_length() + 7) // 8
        for order in ("big", "little"):
            # Half of it, from the middle: a copy may be cut or padded.
            found[f"{name}, {order}"] = number.to_bytes(size, order)[size // 4 : 3 * size // 4]
    return found


def test_the_key_is_in_no_layer_no_label_and_no_history(enclave_image, engine) -> None:
    key = SignKey.read(get_settings().cache_dir / MACHINE_KEY)
    modulus = key.private.public_key().public_numbers().n.to_bytes(384, "little")
    # Every layer, and the configuration with labels, environment and history, as one uncompressed stream.
    saved = engine.images.get(enclave_image.reference).save(chunk_size=1024 * 1024)
    assert contained(saved, traces(key) | {"modulus": modulus}) == {"modulus"}


def test_signing_and_measuring_leave_nothing(enclave_image, engine, nothing_is_left) -> None:
    with (
        pytest.raises(ConfidentialSparkError),
        one_shot(engine.api, signing(enclave_image.digest)) as container,
    ):
        container.run(b"-----BEGIN NOTHING-----\n-----END RSA PRIVATE KEY-----\n", lambda line: None)


def test_a_container_of_a_killed_worker_is_replaced(enclave_image, engine, nothing_is_left) -> None:
    spec = signing(enclave_image.digest)
    engine.api.create_container(spec.image, ["build-enclave"], name=spec.name)
    with one_shot(engine.api, spec) as container:
        [found] = engine.containers.list(all=True, filters={"name": spec.name})
        assert found.id == container.container_id


def test_a_stopped_task_removes_its_container(engine, base_image, nothing_is_left) -> None:
    task = SignEnclaveOperator(task_id="sign", inputs={}, image={})
    task.client = engine.api
    base = engine.images.get(base_image).id
    program = "print('started', flush=True); import time; time.sleep(600)"
    spec = OneShot("confidential-spark-sleep", base, ("python3", "-c", program), tmpfs={}, read_only=True)
    with pytest.raises(EnclaveError), task.container(spec) as container:
        container.run(b"", lambda line: task.on_kill())
    assert not engine.containers.list(all=True, filters={"name": spec.name})


def dockerfile_alone(text: bytes) -> Iterator[bytes]:
    return BuildContext({"Dockerfile": ContextFile.containing(text)}, {}, "of the Dockerfile").tar()


def relabelled(engine, image: EnclaveImage, store, labels: dict[str, str], extra: str = "") -> str:
    dockerfile = f"FROM {image.digest}\n{extra}"
    files = {"Dockerfile": ContextFile.containing(dockerfile.encode())}
    return store.build(BuildContext(files, {}, image.digest).tar(), build_args={}, labels=labels)


@pytest.mark.parametrize(
    ("label", "value", "code"),
    [
        pytest.param("mrenclave", "09" * 32, "measurement-mismatch", id="another-measurement"),
        pytest.param("svn", "9", "measurement-mismatch", id="newer-version"),
        pytest.param("trust", "hardware", "measurement-mismatch", id="pretended-hardware"),
        pytest.param("mrsigner", "none", "image-malformed", id="nonsense"),
    ],
)
def test_a_forged_label_is_found_by_measuring(
    enclave_image, engine, store, run_image_task, label, value, code
) -> None:
    forged = relabelled(engine, enclave_image, store, {PREFIX + label: value})
    try:
        with pytest.raises(ConfidentialSparkError) as refusal:
            run_image_task(
                MeasureEnclaveOperator, image={"image_id": forged, "reference": forged, "signed": True}
            )
        assert refusal.value.code == code
    finally:
        store.remove(forged)


@pytest.mark.parametrize(
    ("dockerfile", "code", "retryable"),
    [
        pytest.param("FROM {base}\nRUN false\n", "image-build-failed", False, id="step-fails"),
        pytest.param("FROM {base}\nCOPY absent /\n", "image-build-failed", False, id="file-absent"),
        pytest.param("FROM {base}\nNONSENSE\n", "docker-refused", False, id="syntax"),
        pytest.param(
            "FROM {base}\nRUN echo 'write /x: no space left on device'; exit 1\n",
            "disk-full",
            False,
            id="disk-full",
        ),
    ],
)
def test_a_failed_build_has_a_name_and_leaves_no_container(
    engine, base_image, store, nothing_is_left, dockerfile, code, retryable
) -> None:
    base = engine.images.get(base_image).id
    text = dockerfile.format(base=base).encode()
    before = {container.id for container in engine.containers.list(all=True)}
    with pytest.raises(EnclaveError) as failure:
        store.build(dockerfile_alone(text), build_args={}, labels={})
    assert (failure.value.code, failure.value.retryable) == (code, retryable)
    left = {container.id: container for container in engine.containers.list(all=True)}
    assert not [left[new] for new in left.keys() - before if left[new].attrs["Image"] == base]


def test_build_steps_have_no_network(engine, base_image, store) -> None:
    base = engine.images.get(base_image).id
    text = f'FROM {base}\nRUN python3 -c "import socket; print(socket.if_nameindex())"\n'
    lines: list[str] = []
    loud = ImageStore(engine.api, lambda line, messages: lines.append(line))
    built = loud.build(dockerfile_alone(text.encode()), build_args={}, labels={})
    store.remove(built)
    assert "[(1, 'lo')]" in lines


def test_what_a_container_says_is_read_whole(engine, base_image) -> None:
    base = engine.images.get(base_image).id
    lines: list[str] = []
    program = (
        "import sys; print(len(sys.stdin.readline())); print('x' * 99_999, file=sys.stderr); print('end')"
    )
    command = ("python3", "-c", program)
    spec = OneShot("confidential-spark-echo", image=base, command=command, tmpfs={}, read_only=True)
    with one_shot(engine.api, spec) as container:
        output = container.run(b"12345\n", lines.append)
    assert output == ["6", "end"]
    assert sum(line.count("x") for line in lines) <= 99_999


def test_inputs_that_changed_since_they_were_resolved_are_not_built(run_image_task, base_image) -> None:
    inputs = run_image_task(ResolveInputsOperator) | {"inputs_sha256": "0" * 64}
    with pytest.raises(ConfidentialSparkError, match="build-input-changed"):
        run_image_task(BuildImageOperator, inputs=inputs)


def test_an_absent_base_is_named(run_image_task, base_image) -> None:
    settings = {"image_base": "absent/base:1"}
    with pytest.raises(ConfidentialSparkError, match=r"base-image-missing.*debian_base"):
        run_image_task(ResolveInputsOperator, settings=settings)


def test_an_image_by_digest_that_is_nowhere_is_named(run_image_task, base_image, enclave_image) -> None:
    reference = f"127.0.0.1:9/absent/enclave@{enclave_image.digest}"
    settings = {"dcsv3_image": reference}
    inputs = run_image_task(ResolveInputsOperator, settings=settings)
    assert inputs["pull"] == reference
    with pytest.raises(EnclaveError) as failure:
        run_image_task(BuildImageOperator, settings=settings, inputs=inputs)
    assert failure.value.code in {"image-pull-interrupted", "image-not-found"}
