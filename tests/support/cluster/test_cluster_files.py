"""What the node's programs are given: certificates that verify, keys nobody else reads, images."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tests.support.cluster.images import write_program_image
from tests.support.cluster.places import Places
from tests.support.cluster.settings_files import CLIENTS, write_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Places whose settings are written."""
    places = Places(tmp_path / "cluster")
    write_settings(places, tmp_path / "cni", 4711)
    return places


def certificate(places: Places, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((places.settings / f"{name}.crt").read_bytes())


@pytest.mark.parametrize(
    ("server", "known_by"),
    [
        pytest.param("apiserver", x509.IPAddress(ip_address("127.0.0.1")), id="api-from-this-machine"),
        pytest.param("apiserver", x509.IPAddress(ip_address("10.96.0.1")), id="api-from-a-pod"),
        pytest.param("apiserver", x509.DNSName("kubernetes.default.svc.cluster.local"), id="api-by-name"),
        pytest.param("kubelet-server", x509.IPAddress(ip_address("10.245.0.1")), id="kubelet-from-the-api"),
    ],
)
def test_a_server_is_who_it_is_asked_for(
    places: Places, server: str, known_by: x509.DNSName | x509.IPAddress
) -> None:
    names = certificate(places, server).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert known_by in list(names)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_its_user_and_signed_by_the_authority(places: Places, client: str) -> None:
    issued = certificate(places, client)
    issued.verify_directly_issued_by(certificate(places, "ca"))
    user, group = CLIENTS[client]
    assert issued.subject.rfc4514_string() == f"CN={user}" + (f",O={group}" if group else "")
    assert issued.not_valid_before_utc < datetime.now(UTC) < issued.not_valid_after_utc


def test_two_clusters_do_not_trust_each_other(places: Places, tmp_path: Path) -> None:
    other = Places(tmp_path / "other")
    write_settings(other, tmp_path / "cni", 4712)
    with pytest.raises(InvalidSignature):
        certificate(other, "admin").verify_directly_issued_by(certificate(places, "ca"))


def test_keys_and_kubeconfigs_are_for_their_owner_only(places: Places) -> None:
    secret = [*places.settings.glob("*.key"), *places.settings.glob("*.kubeconfig"), places.kubeconfig]
    assert len(secret) == 17
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_the_kubeconfig_names_the_forwarded_port(places: Places) -> None:
    [cluster] = yaml.safe_load(places.kubeconfig.read_text())["clusters"]
    assert cluster["cluster"]["server"] == "https://127.0.0.1:4711"


def test_a_program_image_has_the_program_only_and_is_the_same_each_time(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"program")
    for name in ("a.tar", "b.tar"):
        write_program_image(tmp_path / name, "localhost/pause:1", program)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as image:
        [manifest] = json.load(image.extractfile("manifest.json"))
        layer = image.extractfile(*manifest["Layers"]).read()
        config = json.load(image.extractfile(manifest["Config"]))
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["config"]["Entrypoint"] == ["/pause"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert [(each.name, each.mode) for each in files] == [("pause", 0o755)]
