"""The commands that repeat a page's verification: they run as they are copied."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.settings import PROJECT_DIR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.ui.results.live_verification import Claim

# Where `make install` puts it, in every checkout.
IN_A_CHECKOUT = (".venv/bin/confidential-spark",)
KEYS_FILE = "signing-keys.json"


@dataclass(frozen=True)
class VerifyCommand:
    """One verification as a shell command.

    :param program: how the reader calls this project's command line.
    :param keys_of: the issuer whose signing keys the reader has to fetch; empty when the policy pins them.
    """

    program: tuple[str, ...]
    evidence: str
    policy: str
    job_file: str
    claim: Claim
    keys_of: str = ""

    def text(self) -> str:
        """Return it for a shell, with the fetching of the keys before it where they are needed."""
        options = {
            "--policy": self.policy,
            "--jwks": KEYS_FILE if self.keys_of else "",
            "--month": self.claim.month or "",
            "--job-file": self.job_file,
            "--run-id": self.claim.run_id,
            "--at": self.claim.at,
        }
        given = [part for name, value in options.items() if value for part in (name, value)]
        return _with_keys([*self.program, "verify", self.evidence, *given], self.keys_of)


@dataclass(frozen=True)
class VerifyYearCommand:
    """The verification of a year as a shell command.

    :param folder: of the year.
    :param published: of the months' results; empty: they are not compared.
    """

    program: tuple[str, ...]
    folder: str
    policy: str
    job_file: str
    published: str = ""
    keys_of: str = ""

    def text(self) -> str:
        """Return it for a shell."""
        options = {
            "--policy": self.policy,
            "--jwks": KEYS_FILE if self.keys_of else "",
            "--job-file": self.job_file,
            "--published": self.published,
        }
        given = [part for name, value in options.items() if value for part in (name, value)]
        return _with_keys([*self.program, "year", "verify", self.folder, *given], self.keys_of)


def _with_keys(command: Sequence[str], keys_of: str) -> str:
    """Return a command for a shell, after the fetching of the issuer's keys where they are needed."""
    if not keys_of:
        return shlex.join(command)
    fetch = shlex.join(["curl", "-fsS", "-o", KEYS_FILE, f"{keys_of}/certs"])
    return f"{fetch} &&\n{shlex.join(command)}"


def installed_program() -> tuple[str, ...]:
    """Return how to call this project's command line on this machine, from any folder."""
    script = Path(sys.executable).with_name("confidential-spark")
    if os.access(script, os.X_OK):
        return (str(script),)
    # Airflow finds the project in its plugins folder, and needs no installed package.
    return ("env", f"PYTHONPATH={PROJECT_DIR / 'plugins'}", sys.executable, "-m", "confidential_spark")
