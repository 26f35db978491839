"""Text that looks like a credential, for places where none belongs."""

from __future__ import annotations

import re

FORMS = {
    "a SAS token": re.compile(r"(?:^|[?&;\"'\s])sig=[^&\s]", re.IGNORECASE),
    "an account key": re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}=="),
    "a connection string": re.compile(
        r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=", re.IGNORECASE
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"),
    "a password in an address": re.compile(r"://[^/?#@\s:]*:[^/?#@\s]+@"),
}


def credential_in(text: str) -> str | None:
    """Return what kind of credential the text seems to contain, or None."""
    return next((kind for kind, form in FORMS.items() if form.search(text)), None)
