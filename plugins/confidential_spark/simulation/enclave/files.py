"""What the simulated enclave's measurement covers: each file that `occlum build` took into the enclave.

The simulated enclave runs its files where the container has them. So their listing, made from the `image/`
folder, is compared with the container's own files before each start, as a processor checks pages.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from confidential_spark.core.errors import EnclaveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Path relative to the root → what is there: "link <target>" or "file <x or -> <SHA-256>".
Listing: TypeAlias = dict[str, str]
# Each folder in here belongs to the enclave as a whole: nothing may be added to it. Elsewhere, e.g. in /etc,
# a container has files that its enclave has not, and links where its enclave has a copy.
WHOLE_TREES = Path("opt")
THREADS = 2


def measured_files(image: Path) -> Listing:
    """Return the listing of the folder that goes into the enclave.

    :raises EnclaveError: ``enclave-file-unusable`` for what is neither folder, file nor link.
    """
    return _listing(image, _walk(image, Path()))


def require_unchanged(root: Path, measured: Listing) -> None:
    """Compare a container's files with what was measured.

    :param root: the container's root folder.
    :raises EnclaveError: ``enclave-changed``, naming up to three files.
    """
    trees = {Path(path).parts[1] for path in measured if Path(path).is_relative_to(WHOLE_TREES)}
    present = {str(path) for tree in trees for path in _walk(root, WHOLE_TREES / tree)}
    found = _listing(root, (Path(path) for path in present | measured.keys()))
    if changed := sorted(path for path, what in found.items() if measured.get(path) != what):
        raise EnclaveError(
            "The enclave's files are not those that were measured; SGX would not start it.",
            code="enclave-changed",
            got=f"{len(changed)} changed: {', '.join(changed[:3])}",
            expected="the files of `occlum build`",
            action="start the image as it was built, or build it again",
        )


def _listing(root: Path, paths: Iterable[Path]) -> Listing:
    names = sorted(path.as_posix() for path in paths)
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(names, pool.map(lambda name: _what(root, name), names), strict=True))


def _walk(root: Path, below: Path) -> Iterator[Path]:
    """Yield everything but folders below a folder, relative to the root; links are not followed."""
    try:
        entries = list(os.scandir(root / below))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, below / entry.name)
        else:
            yield below / entry.name


def _what(root: Path, name: str) -> str:
    path = root / name
    try:
        status = path.stat(follow_symlinks=not Path(name).is_relative_to(WHOLE_TREES))
        if stat.S_ISLNK(status.st_mode):
            return f"link {path.readlink()}"
        if stat.S_ISREG(status.st_mode):
            return f"file {'x' if status.st_mode & stat.S_IXUSR else '-'} {_sha256(path)}"
    except FileNotFoundError:
        return "nothing"
    raise EnclaveError(
        "Only folders, files and links can be measured.",
        code="enclave-file-unusable",
        got=f"{path} with mode {stat.filemode(status.st_mode)}",
        expected="a folder, a file or a link",
        action="remove it from the enclave",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
