"""What looks like a credential, and what settings have that only resembles one."""

from __future__ import annotations

import hashlib

import pytest
from confidential_spark.core.credentials import credential_in

KEY = "ab+/" * 21 + "ab=="


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("sv=2025-07-05&sp=rl&sig=a%2Fb%3D", "a SAS token", id="sas"),
        pytest.param("?SIG=abc&sv=1", "a SAS token", id="sas-with-its-question-mark"),
        pytest.param("https://a.blob.core.windows.net/c?sp=r&sig=a", "a SAS token", id="sas-in-an-address"),
        pytest.param('{"sas_token": "sig=abc&sp=r"}', "a SAS token", id="sas-in-json"),
        pytest.param(KEY, "an account key", id="key"),
        pytest.param(f'{{"account_key": "{KEY}"}}', "an account key", id="key-in-json"),
        pytest.param(
            "DefaultEndpointsProtocol=https;AccountKey=short", "a connection string", id="connection-string"
        ),
        pytest.param("-----BEGIN RSA PRIVATE KEY-----\nMII", "a private key", id="pem"),
        pytest.param("wasb://account:key@host", "a password in an address", id="password"),
        pytest.param("wasbs://trips@account.blob.core.windows.net/p", None, id="wasbs"),
        pytest.param("https://a.blob.core.windows.net/c/design=b", None, id="partition"),
        pytest.param("http://127.0.0.1:10000/devstoreaccount1", None, id="emulator"),
        pytest.param("sha256:" + hashlib.sha256(b"").hexdigest(), None, id="digest"),
        pytest.param("sha512-" + KEY[:80] + "==", None, id="other-length"),
        pytest.param("/keys/sign-key.pem", None, id="path-of-a-key"),
        pytest.param("", None, id="empty"),
    ],
)
def test_credentials_are_told_from_settings(text: str, kind: str | None) -> None:
    assert credential_in(text) == kind
