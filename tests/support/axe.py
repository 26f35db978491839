"""axe-core, the accessibility checker: installed once into a cache by `python -m tests.support.axe`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.azure.azurite import NoAzuriteError, home, node

VERSION = "4.14.1"


def program() -> Path:
    """Return the script that is loaded into a page."""
    return home().with_name(f"axe-core-{VERSION}") / "node_modules" / "axe-core" / "axe.min.js"


def install() -> int:
    """Install it from npm, unless it is there; return the exit status."""
    if program().is_file():
        return 0
    folder = program().parents[2]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        npm = Path(node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [
            node(),
            str(npm),
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(folder),
        ]
        return subprocess.run([*command, f"axe-core@{VERSION}"], check=False).returncode
    except NoAzuriteError as error:
        print(f"!!! NOT INSTALLED: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(install())
