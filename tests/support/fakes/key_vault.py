"""A Key Vault and the Entra that it sends clients to, on the loopback under their own names.

Source: Key Vault's REST API ("Get Secret") and its authentication challenge; Entra's token endpoint.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.fakes.faulty_service import Fault, FaultyService
from tests.support.fakes.kubernetes_api.tls import new_authority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest
    from confidential_spark.simulation.service.api import Request

VAULT, ENTRA = "trips.vault.azure.net", "login.microsoftonline.com"
TENANT, CLIENT = "3c2c1b36-0f4e-4b8e-9d0a-5a8f5b1f9f10", "0c7f1f6e-6d7e-4a8b-8b56-1f5a0f2b8c11"
CLIENT_SECRET, TOKEN = "canary-client-secret", "canary-access-token"


@dataclass
class KeyVault:
    """What the vault holds, and the service that it is.

    :param secrets: values by the secrets' names.
    """

    service: FaultyService
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def asked_with_token(self) -> list[str]:
        """The secrets that were asked for, by requests that showed the token."""
        pairs = zip(self.service.requests, self.service.headers, strict=True)
        return [_name(request) for request, headers in pairs if _shows_token(headers)]

    def answer(self, request: Request, headers: Mapping[str, str]) -> Fault:
        """Answer as the vault does: first with a challenge."""
        if not _shows_token(headers):
            challenge = f'Bearer authorization="https://{ENTRA}/{TENANT}", resource="https://vault.azure.net"'
            return refused(401, "Unauthorized", **{"WWW-Authenticate": challenge})
        name = _name(request)
        if name not in self.secrets:
            return refused(404, "SecretNotFound")
        found = {"value": self.secrets[name], "id": f"https://{VAULT}/secrets/{name}/1", "attributes": {}}
        return _json(200, found)


def refused(status: int, code: str, **headers: str) -> Fault:
    """Return a refusal as Key Vault writes it."""
    return _json(status, {"error": {"code": code, "message": f"{code} by test"}}, headers)


def _json(status: int, document: object, headers: Mapping[str, str] | None = None) -> Fault:
    kind = {"Content-Type": "application/json"}
    return Fault(status, json.dumps(document).encode(), {**kind, **(headers or {})})


def _name(request: Request) -> str:
    return request.target.partition("?")[0].removeprefix("/secrets/").strip("/")


def _shows_token(headers: Mapping[str, str]) -> bool:
    return headers.get("authorization") == f"Bearer {TOKEN}"


def _entra(request: Request, _: Mapping[str, str]) -> Fault:
    """Answer what MSAL asks for on its way to a token."""
    login = f"https://{ENTRA}/{TENANT}"
    if "discovery/instance" in request.target:
        well_known = f"{login}/v2.0/.well-known/openid-configuration"
        return _json(200, {"tenant_discovery_endpoint": well_known, "metadata": []})
    if "openid-configuration" in request.target:
        endpoints = {"token_endpoint": f"{login}/oauth2/v2.0/token", "issuer": f"{login}/v2.0"}
        return _json(200, {**endpoints, "authorization_endpoint": f"{login}/oauth2/v2.0/authorize"})
    assert CLIENT_SECRET.encode() in request.body
    return _json(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN})


@contextmanager
def key_vault(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[KeyVault]:
    """Yield a vault that this process finds under its name, and give the environment an identity for it."""
    with ExitStack() as stack:
        authorities = {}
        for name in (VAULT, ENTRA):
            (folder / name).mkdir()
            authorities[name] = new_authority(folder / name, name=name)
        roots = folder / "roots.pem"
        roots.write_bytes(b"".join(each.certificate for each in authorities.values()))
        vault = KeyVault(FaultyService(tls=authorities[VAULT].context))
        vault.service.proper = vault.answer
        entra = FaultyService(proper=_entra, tls=authorities[ENTRA].context)
        ports = {VAULT: vault.service.port, ENTRA: entra.port}
        for service in (vault.service, entra):
            stack.enter_context(service)
        patch.setattr(socket, "getaddrinfo", _resolver(ports))
        patch.setenv("REQUESTS_CA_BUNDLE", str(roots))
        identity = {"TENANT_ID": TENANT, "CLIENT_ID": CLIENT, "CLIENT_SECRET": CLIENT_SECRET}
        for name, value in identity.items():
            patch.setenv(f"AZURE_{name}", value)
        yield vault


def _resolver(ports: Mapping[str, int]) -> Any:
    """Return name resolution that knows these names and the loopback."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host in ports:
            return resolve("127.0.0.1", ports[host], *rest, **named)
        if host in ("127.0.0.1", "localhost"):
            return resolve(host, port, *rest, **named)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return getaddrinfo
