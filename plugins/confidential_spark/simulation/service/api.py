"""Which request gets which answer: MAA's and PCCS's paths, methods and errors, without any socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from confidential_spark.simulation.service import collateral as collateral_answers
from confidential_spark.simulation.service.answers import Answer, Refused, error, invalid_parameter, ok
from confidential_spark.simulation.service.requests import API_VERSIONS, attest
from confidential_spark.simulation.service.tokens import jwks, openid_configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

PCCS_PATH = "/sgx/certification/v4"
MAX_QUERY_FIELDS = 8


@dataclass(frozen=True)
class Request:
    """An HTTP request whose body has been read.

    :param target: path and query, as sent.
    """

    method: str
    target: str
    content_type: str = ""
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.target.partition("?")[0]

    def query(self) -> Mapping[str, str]:
        """Return the query's fields.

        :raises Refused: for malformed or repeated ones.
        """
        query = self.target.partition("?")[2]
        try:
            fields = parse_qsl(
                query,
                keep_blank_values=True,
                strict_parsing=bool(query),
                max_num_fields=MAX_QUERY_FIELDS,
            )
        except ValueError as problem:
            raise invalid_parameter(f"The query string is malformed: {problem}") from problem
        if len(dict(fields)) != len(fields):
            raise invalid_parameter("The query string names a field twice.")
        return dict(fields)


def answer(request: Request, now: datetime) -> Answer:
    """Return the answer to any request; never raises for what a client sent."""
    try:
        return _route(request)(request, now)
    except Refused as refused:
        return refused.answer


def _attest(request: Request, now: datetime) -> Answer:
    version = request.query().get("api-version")
    if version not in API_VERSIONS:
        supported = ", ".join(API_VERSIONS)
        message = f"api-version is {(version or '')[:32]!r}; supported: {supported}"
        return error(400, "UnsupportedApiVersion", message)
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        return error(415, "UnsupportedMediaType", "The request's content type is not application/json.")
    return attest(request.body, now)


def _document(make: Callable[[], Mapping[str, object]]) -> Callable[[Request, datetime], Answer]:
    return lambda request, now: ok(make())


def _collateral(
    make: Callable[[Mapping[str, str], datetime], Answer],
) -> Callable[[Request, datetime], Answer]:
    return lambda request, now: make(request.query(), now)


ROUTES: Mapping[str, tuple[str, Callable[[Request, datetime], Answer]]] = {
    "/attest/SgxEnclave": ("POST", _attest),
    "/certs": ("GET", _document(jwks)),
    "/.well-known/openid-configuration": ("GET", _document(openid_configuration)),
    f"{PCCS_PATH}/pckcrl": ("GET", _collateral(collateral_answers.pck_revocation_list)),
    f"{PCCS_PATH}/rootcacrl": ("GET", _collateral(collateral_answers.root_revocation_list)),
    f"{PCCS_PATH}/tcb": ("GET", _collateral(collateral_answers.tcb_info)),
    f"{PCCS_PATH}/qe/identity": ("GET", _collateral(collateral_answers.qe_identity)),
}


def _route(request: Request) -> Callable[[Request, datetime], Answer]:
    """Return the handler of a path.

    :raises Refused: 404 or 405.
    """
    if request.path not in ROUTES:
        raise Refused(error(404, "NotFound", "There is no such resource here."))
    method, handler = ROUTES[request.path]
    if request.method != method:
        message = f"This resource is reached by {method} only."
        raise Refused(error(405, "MethodNotAllowed", message, {"Allow": method}))
    return handler
