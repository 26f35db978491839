"""Who may do what: an administrator, service accounts by their Roles, and denials on top."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.fakes.kubernetes_api.refusals import Refusal, forbidden
from tests.support.fakes.kubernetes_api.resources import ROLE_BINDINGS, ROLES
from tests.support.fakes.kubernetes_api.store import timestamp

if TYPE_CHECKING:
    from tests.support.fakes.kubernetes_api.refusals import Json
    from tests.support.fakes.kubernetes_api.store import Store

ADMIN = "kubernetes-admin"
_ACCOUNT = "system:serviceaccount"
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Access:
    """One thing somebody wants to do.

    :param resource: with its subresource, e.g. ``pods/log``.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""


class Authorizer:
    """Tokens, denials, and the Roles in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._users: dict[str, str] = {}
        self._denied: set[tuple[str, str]] = set()

    def token(self, user: str = ADMIN) -> str:
        """Return a new bearer token of a user."""
        token = secrets.token_urlsafe(16)
        self._users[token] = user
        return token

    def account_token(self, namespace: str, name: str) -> str:
        return self.token(f"{_ACCOUNT}:{namespace}:{name}")

    def user(self, authorization: str) -> str:
        """Return who sends this Authorization header.

        :raises Refusal: 401.
        """
        user = self._users.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return user

    def deny(self, verb: str, resource: str) -> None:
        """From now on nobody may do this, whatever the Roles say."""
        self._denied.add((verb, resource))

    def allow_again(self) -> None:
        self._denied.clear()

    def allows(self, user: str, access: Access) -> bool:
        denied = {(access.verb, access.resource), ("*", access.resource), (access.verb, "*")} & self._denied
        return not denied and (
            user == ADMIN or any(_covers(rule, access) for rule in self._rules(user, access.namespace))
        )

    def check(self, user: str, access: Access) -> None:
        """Let it pass or refuse it.

        :raises Refusal: 403 in the words of a real API server.
        """
        if not self.allows(user, access):
            where = f'in the namespace "{access.namespace}"' if access.namespace else "at the cluster scope"
            why = (
                f'User "{user}" cannot {access.verb} resource "{access.resource}" '
                f'in API group "{access.group}" {where}'
            )
            plural = access.resource.partition("/")[0]
            raise forbidden(f"{plural}.{access.group}" if access.group else plural, access.name, why)

    def access_review(self, user: str, review: Json) -> Json:
        """Answer a SelfSubjectAccessReview."""
        asked = review.get("spec", {}).get("resourceAttributes") or {}
        sub = asked.get("subresource")
        access = Access(
            asked.get("verb", "*"),
            asked.get("resource", "*") + (f"/{sub}" if sub else ""),
            asked.get("group", ""),
            asked.get("namespace", ""),
        )
        allowed = self.allows(user, access)
        return {
            **_stamped(review),
            "status": {"allowed": allowed} if allowed else {"allowed": False, "reason": ""},
        }

    def _rules(self, user: str, namespace: str) -> list[Json]:
        """The rules of the Roles that are bound to a service account in a namespace."""
        kind, _, account = user.partition(f"{_ACCOUNT}:")
        if kind or not namespace:
            return []
        home, _, name = account.partition(":")
        subject = {"kind": "ServiceAccount", "name": name, "namespace": home}
        rules: list[Json] = []
        for binding in self._store.select(ROLE_BINDINGS, namespace):
            subjects = [{key: each.get(key) for key in subject} for each in binding.get("subjects") or []]
            role = self._store.find(ROLES, namespace, binding["roleRef"]["name"])
            if subject in subjects and role and binding["roleRef"]["kind"] == "Role":
                rules += role.get("rules") or []
        return rules


def _covers(rule: Json, access: Access) -> bool:
    names = rule.get("resourceNames")
    return (
        bool({access.verb, "*"} & set(rule.get("verbs") or []))
        and bool({access.resource, "*"} & set(rule.get("resources") or []))
        and bool({access.group, "*"} & set(rule.get("apiGroups") or []))
        and (not names or access.name in names)
    )


def _stamped(review: Json) -> Json:
    return {**review, "metadata": {"creationTimestamp": timestamp()}}
