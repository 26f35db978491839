"""What kind and its engine are told, and when `make cluster` takes kind. kind itself never ran here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from confidential_spark.core.errors import ConfidentialSparkError

from tests.support.cluster import kind, make_cluster
from tests.support.cluster.machine import MachineUnfitError
from tests.support.cluster.places import REPOSITORY, Places

if TYPE_CHECKING:
    from pathlib import Path

# Keeps its clusters' names in a file, and writes the kubeconfig last, as kind does.
FAKE_KIND = """#!/bin/sh
PATH=/usr/bin:/bin
echo "[$KIND_EXPERIMENTAL_PROVIDER] kind $*" >> "$FAKES/calls"
for option; do
  case "$option" in --name=*) name=${option#--name=};; --kubeconfig=*) config=${option#--kubeconfig=};; esac
done
case "$1 $2" in
  "get clusters") cat "$FAKES/clusters" 2>/dev/null || echo "No kind clusters found." >&2;;
  "create cluster")
    [ ! -e "$FAKES/kind-fails" ] || { echo "ERROR: failed to pull image" >&2; exit 1; }
    echo "$name" >> "$FAKES/clusters"; echo config > "$config";;
  "delete cluster") rm -f "$FAKES/clusters";;
esac
"""
DIGEST = "sha256:" + "ab" * 32
FAKE_ENGINE = f"""#!/bin/sh
PATH=/usr/bin:/bin
engine=${{0##*/}}
[ ! -e "$FAKES/$engine-down" ] || {{ echo "Cannot connect to the daemon" >&2; exit 1; }}
[ "$1" = info ] || echo "$engine $*" >> "$FAKES/calls"
case "$*" in
  *--raw=/readyz) [ ! -e "$FAKES/api-down" ] || exit 1;;
  *" images list name=="*)
    name=${{7#name==}}
    echo "REF TYPE DIGEST SIZE"; echo "$name application/vnd.oci.image.manifest.v1+json {DIGEST} 1.0 MiB";;
  *"get nodes,pods"*) echo "node/somewhere Ready";;
esac
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only programs on PATH are a kind and a Docker that do nothing; the folder of both is returned."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    program(folder, "kind", FAKE_KIND)
    program(folder, "docker", FAKE_ENGINE)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("CONFIDENTIAL_SPARK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(kind.PROVIDER, raising=False)
    return folder


@pytest.fixture
def places(fakes: Path) -> Places:
    return Places.of_environment()


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def calls(fakes: Path) -> list[str]:
    """Return what was called, and forget it."""
    log = fakes / "calls"
    lines = log.read_text().splitlines() if log.is_file() else []
    log.unlink(missing_ok=True)
    return lines


def run(*arguments: str, module: str = "tests.support.cluster.kind") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def archive_of(path: Path, *names: str) -> Path:
    manifest = json.dumps([{"RepoTags": list(names)}]).encode()
    member = tarfile.TarInfo("manifest.json")
    member.size = len(manifest)
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(manifest))
    return path


def creations(fakes: Path) -> int:
    return sum("create cluster" in each for each in calls(fakes))


def test_up_creates_the_pinned_node_under_a_name_of_its_own(fakes: Path, places: Places) -> None:
    done = run("up")
    config = places.home / "kind.kubeconfig"
    assert (done.returncode, done.stdout) == (0, f"{config}\n"), done.stderr
    assert "@sha256:" in kind.NODE_IMAGE
    named = f"--name={places.unique_name} --kubeconfig={config}"
    assert calls(fakes)[-1] == f"[docker] kind create cluster {named} --image={kind.NODE_IMAGE} --wait=300s"


def test_a_cluster_that_answers_stays_as_it_is(fakes: Path, places: Places) -> None:
    cluster = kind.KindCluster(places)
    places.home.mkdir(parents=True)
    cluster.bring_up()
    calls(fakes)
    cluster.bring_up()
    assert creations(fakes) == 0


@pytest.mark.parametrize("broken", ["killed-while-created", "does-not-answer"])
def test_a_cluster_in_another_state_is_made_anew(fakes: Path, places: Places, broken: str) -> None:
    cluster = kind.KindCluster(places)
    places.home.mkdir(parents=True)
    cluster.bring_up()
    calls(fakes)
    if broken == "killed-while-created":
        cluster.kubeconfig.unlink()
    else:
        (fakes / "api-down").touch()
    assert not cluster.is_up()
    cluster.bring_up()
    assert [each.split()[2] for each in calls(fakes) if "cluster " in each] == ["delete", "create"]


def test_two_homes_have_two_clusters(tmp_path: Path) -> None:
    nodes = {kind.KindCluster(Places(tmp_path / name)).node for name in ("a", "b")}
    assert len(nodes) == 2


def test_a_creation_that_fails_is_told_in_kinds_words(fakes: Path, places: Places) -> None:
    (fakes / "kind-fails").touch()
    done = run("up")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[cluster-kind-failed]" in done.stderr
    assert "failed to pull image" in done.stderr
    assert not kind.KindCluster(places).kubeconfig.exists()


def test_down_removes_the_kubeconfig_too(fakes: Path, places: Places) -> None:
    run("up")
    assert run("down").returncode == 0
    assert f"kind delete cluster --name={places.unique_name}" in calls(fakes)[-1]
    assert not kind.KindCluster(places).kubeconfig.exists()
    assert run("status").returncode == 1


def test_an_engine_that_answers_is_taken_and_kind_is_told_which(fakes: Path) -> None:
    (fakes / "docker-down").touch()
    assert not kind.is_here()
    program(fakes, "podman", FAKE_ENGINE)
    assert kind.is_here()
    assert run("up").returncode == 0
    assert {each.split()[0] for each in calls(fakes)} == {"[podman]"}


def test_the_engine_that_the_user_chose_is_the_only_one_asked(
    fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kind.PROVIDER, "podman")
    assert not kind.is_here()
    done = run("up")
    assert (done.returncode, "[cluster-kind-missing]" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("tag", "name", "reference"),
    [
        pytest.param("enclave:1", "docker.io/library/enclave:1", "docker.io/library/enclave", id="short"),
        pytest.param("team/enclave:1", "docker.io/team/enclave:1", "docker.io/team/enclave", id="user"),
        pytest.param("localhost/a/b:1", "localhost/a/b:1", "localhost/a/b", id="localhost"),
        pytest.param("reg.example:5000/a:1", "reg.example:5000/a:1", "reg.example:5000/a", id="registry"),
    ],
)
def test_a_loaded_image_is_named_by_tag_and_by_digest(
    fakes: Path, places: Places, tmp_path: Path, tag: str, name: str, reference: str
) -> None:
    run("up")
    archive = archive_of(tmp_path / "image.tar", tag)
    done = run("load-image", str(archive))
    assert json.loads(done.stdout) == [{"name": name, "reference": f"{reference}@{DIGEST}"}], done.stderr
    made = calls(fakes)
    assert f"[docker] kind load image-archive {archive} --name={places.unique_name}" in made
    node = f"{places.unique_name}-control-plane"
    tagged = f"docker exec {node} ctr --namespace=k8s.io images tag --force {name} {reference}@{DIGEST}"
    assert made[-1] == tagged


@pytest.mark.parametrize("broken", ["missing", "no-archive", "no-name", "no-manifest"])
def test_an_archive_without_a_named_image_is_refused(fakes: Path, tmp_path: Path, broken: str) -> None:
    run("up")
    archive = tmp_path / "image.tar"
    if broken == "no-archive":
        archive.write_text("no archive")
    elif broken == "no-name":
        archive_of(archive)
    elif broken == "no-manifest":
        tarfile.open(archive, "w").close()
    done = run("load-image", str(archive))
    assert (done.returncode, "[cluster-image-refused]" in done.stderr) == (1, True), done.stderr
    assert not any("load image-archive" in each for each in calls(fakes))


def test_enclave_memory_is_patched_into_the_nodes_status(fakes: Path, places: Places) -> None:
    run("up")
    assert run("epc", "64Mi").returncode == 0
    node = f"{places.unique_name}-control-plane"
    kubectl = f"docker exec {node} kubectl --kubeconfig=/etc/kubernetes/admin.conf"
    last = calls(fakes)[-1]
    assert last.startswith(f"{kubectl} patch node {node} --subresource=status --type=merge --patch=")
    amount = {"sgx.intel.com/epc": "64Mi"}
    assert json.loads(last.partition("--patch=")[2]) == {
        "status": {"capacity": amount, "allocatable": amount}
    }
    assert "[cluster-quantity]" in run("epc", "1.5Gi").stderr


@pytest.mark.parametrize("command", [("kubeconfig",), ("load-image", "any.tar"), ("epc", "1Mi")])
def test_without_a_cluster_it_says_how_to_get_one(fakes: Path, command: tuple[str, ...]) -> None:
    done = run(*command)
    assert done.returncode == 1
    assert "python -m tests.support.cluster.kind up" in done.stderr


def test_status_shows_nodes_and_pods(fakes: Path) -> None:
    run("up")
    done = run("status")
    assert (done.returncode, done.stdout) == (0, "node/somewhere Ready\n")


def test_make_takes_kind_where_nothing_can_be_compiled(fakes: Path, places: Places) -> None:
    done = run(module="tests.support.cluster.make_cluster")
    assert (done.returncode, done.stdout) == (0, f"{places.home}/kind.kubeconfig\n"), done.stderr
    assert "[cluster-go-missing]" in done.stderr
    assert creations(fakes) == 1


@pytest.mark.parametrize("missing", ["kind", "docker"])
def test_make_refuses_where_kind_is_not_either(fakes: Path, missing: str) -> None:
    (fakes / missing).unlink()
    done = run(module="tests.support.cluster.make_cluster")
    assert done.returncode == 3
    assert done.stderr.startswith("!!! NO TEST CLUSTER: [cluster-go-missing]")
    assert "kind" in done.stderr
    assert calls(fakes) == []


@pytest.fixture
def own_node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine on which a node of its own can be brought up; what is done to it is listed."""
    done: list[str] = []
    for step in ("require_compiler", "install_packages", "bring_up"):
        monkeypatch.setattr(make_cluster, step, lambda *_, step=step: done.append(step))
    return done


def test_make_takes_a_node_of_its_own_where_that_can_be_had(
    fakes: Path, places: Places, own_node: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_cluster.main() == 0
    assert own_node == ["require_compiler", "install_packages", "bring_up"]
    assert capsys.readouterr().out == f"{places.kubeconfig}\n"
    assert calls(fakes) == []


@pytest.mark.parametrize("step", ["install_packages", "bring_up"])
def test_make_takes_kind_where_a_later_step_finds_the_machine_unfit(
    fakes: Path, places: Places, own_node: list[str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object) -> None:
        raise MachineUnfitError("unfit", code="cluster-machine-unfit")

    monkeypatch.setattr(make_cluster, step, refuse)
    assert make_cluster.main() == 0
    assert creations(fakes) == 1


def test_make_does_not_hide_a_failure_behind_kind(
    fakes: Path, own_node: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ConfidentialSparkError("no answer", code="cluster-not-ready")

    monkeypatch.setattr(make_cluster, "bring_up", fail)
    assert make_cluster.main() == 1
    assert "[cluster-not-ready]" in capsys.readouterr().err
    assert calls(fakes) == []


def test_packages_are_installed_by_root_only(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(fakes, "apt-get", '#!/bin/sh\necho "apt-get $*" >> "$FAKES/calls"\n')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineUnfitError, match="not root") as refused:
        make_cluster.install_packages()
    assert refused.value.code == "cluster-install-failed"
    assert calls(fakes) == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    make_cluster.install_packages()
    assert all("--no-remove" in each for each in calls(fakes) if " install " in each)
