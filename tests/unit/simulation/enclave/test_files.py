import os
from pathlib import Path

import pytest
from confidential_spark.core.errors import EnclaveError
from confidential_spark.simulation.enclave.files import measured_files, require_unchanged


def write(path: Path, content: str = "x", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.fixture
def image(tmp_path):
    """What goes into the enclave."""
    root = tmp_path / "image"
    write(root / "opt/app/agent.py", "code")
    write(root / "opt/app/bin/java", "program", 0o755)
    (root / "opt/app/bin/jre").symlink_to("java")
    write(root / "lib/libc.so.6", "library")
    return root


@pytest.fixture
def container(tmp_path):
    """The container's own files: the enclave's, and what only a container has."""
    root = tmp_path / "container"
    write(root / "opt/app/agent.py", "code")
    write(root / "opt/app/bin/java", "program", 0o755)
    (root / "opt/app/bin/jre").symlink_to("java")
    write(root / "lib/libc-2.31.so", "library")
    (root / "lib/libc.so.6").symlink_to("libc-2.31.so")
    write(root / "etc/hosts", "of the engine")
    write(root / "opt/enclave/Occlum.json", "{}")
    return root


def test_an_untouched_container_is_the_measured_enclave(image, container):
    require_unchanged(container, measured_files(image))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda root: write(root / "opt/app/agent.py", "evil"), "opt/app/agent.py", id="changed"),
        pytest.param(lambda root: write(root / "opt/app/new.jar"), "opt/app/new.jar", id="added"),
        pytest.param(lambda root: write(root / "opt/app/a/b/c.jar"), "opt/app/a/b/c.jar", id="added-below"),
        pytest.param(lambda root: (root / "opt/app/agent.py").unlink(), "opt/app/agent.py", id="removed"),
        pytest.param(lambda root: (root / "opt/app/bin/java").chmod(0o644), "opt/app/bin/java", id="mode"),
        pytest.param(lambda root: write(root / "lib/libc-2.31.so", "evil"), "lib/libc.so.6", id="library"),
        pytest.param(lambda root: (root / "lib/libc-2.31.so").unlink(), "lib/libc.so.6", id="dangling"),
        pytest.param(
            lambda root: ((root / "opt/app/bin/jre").unlink(), (root / "opt/app/bin/jre").symlink_to("/x")),
            "opt/app/bin/jre",
            id="link-elsewhere",
        ),
        pytest.param(
            lambda root: ((root / "opt/app/bin/jre").unlink(), write(root / "opt/app/bin/jre", "program")),
            "opt/app/bin/jre",
            id="file-for-link",
        ),
    ],
)
def test_any_change_is_noticed_and_named(image, container, change, named):
    files = measured_files(image)
    change(container)

    with pytest.raises(EnclaveError, match=f"1 changed: {named}") as refused:
        require_unchanged(container, files)

    assert refused.value.code == "enclave-changed"


def test_what_a_container_has_beside_the_enclave_is_left_alone(image, container):
    write(container / "etc/resolv.conf")
    write(container / "opt/enclave/run/instance/state")

    require_unchanged(container, measured_files(image))


def test_a_device_cannot_be_measured(image):
    os.mkfifo(image / "opt/app/pipe")

    with pytest.raises(EnclaveError, match="opt/app/pipe"):
        measured_files(image)


def test_neither_time_nor_place_is_measured(image, tmp_path):
    before = measured_files(image)
    os.utime(image / "opt/app/agent.py", (1, 1))
    image.rename(tmp_path / "elsewhere")

    assert measured_files(tmp_path / "elsewhere") == before
