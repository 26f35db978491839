"""An Entra identity: what it reads outside, and the tokens that it signs for an enclave."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from azure.core.credentials import AccessToken
from confidential_spark.hooks.blob.account import BlobAccount
from confidential_spark.hooks.blob.listing import BlobListing
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.jobs.input.blob_location import parse_blob_location

from tests.support.azure.azurite import azurite
from tests.support.fakes.kubernetes_api.tls import new_authority


class Identity:
    """Has tokens as Entra makes them; Azurite looks at their claims, and not at who signed them."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        now = int(time.time())
        ids = dict.fromkeys(("oid", "tid", "sub"), "23657296-5cd5-45b0-a809-d972a7f4dfe1")
        times = {"iat": now, "nbf": now, "exp": now + 3600}
        issuer = {"iss": f"https://sts.windows.net/{ids['tid']}/", "aud": "https://storage.azure.com"}
        return AccessToken(jwt.encode({**ids, **times, **issuer}, "x" * 32, algorithm="HS256"), now + 3600)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """An emulator that takes identities, which takes TLS."""
    folder = tmp_path_factory.mktemp("tls")
    authority = new_authority(folder)
    (folder / "root.pem").write_bytes(authority.certificate)
    certificate = str(folder / "apiserver.pem")
    options = ("--cert", certificate, "--key", certificate, "--oauth", "basic")
    with azurite(tmp_path_factory.mktemp("azurite"), *options) as running:
        running.client().create_container("trips").upload_blob("yellow/a.parquet", b"0123456789")
        yield running, folder / "root.pem"


@pytest.fixture
def account(storage, monkeypatch):
    running, root = storage
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(root))
    location = parse_blob_location(f"{running.endpoint}/trips/yellow", emulator=running.endpoint)
    return BlobAccount(location, token=Identity())


def test_an_identity_lists_and_signs_a_right_for_one_blob(account, tmp_path, monkeypatch):
    (blob,) = BlobListing(account).folder("yellow")
    assert (blob.path, blob.bytes) == ("yellow/a.parquet", 10)
    month = BlobMonth.__new__(BlobMonth)
    month.account = account
    files = [{"name": "a.parquet", "bytes": blob.bytes, "etag": blob.etag}]
    (listed,) = month.rights(files, timedelta(hours=1))
    fields = dict(part.split("=", 1) for part in listed["sas"].split("&"))
    assert (fields["sr"], fields["sp"], fields["spr"]) == ("b", "r", "https")
    assert {"skoid", "sktid", "ske"} <= fields.keys()
    ends = datetime.fromisoformat(fields["se"].replace("%3A", ":"))
    assert timedelta(minutes=50) < ends - datetime.now(UTC) < timedelta(minutes=70)
    month.copy(files, timedelta(hours=1), tmp_path)
    assert (tmp_path / "a.parquet").read_bytes() == b"0123456789"
