"""Third-party files of the enclave image, by lock file: wheels by pip, jars by Maven; cached, always checked.

The image itself is built without a network, so whatever comes from outside comes through here.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.core.errors import ConfidentialSparkError, ConfigurationError, InputError, shorten
from confidential_spark.image_build.context import ContextFile, changed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"
TIMEOUT_SECONDS = 900
# glibc 2.31 of the hardware image is the oldest that the wheels meet.
GLIBC_MINORS = (31, 28, 27, 24, 17, 12, 5)
# Digests are in what pip says, too: a number counts only where it stands alone.
PASSING_CAUSES = re.compile(
    r"Connection|connect|[Tt]imed out|Temporary failure|Name or service not known|\b(429|502|503)\b"
)
WRONG_DIGEST = "DO NOT MATCH THE HASHES"
_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}==[^\s;]{1,64}", re.MULTILINE)
_HASH_OPTION = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|\\|$)")
_SUM = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>[A-Za-z0-9][A-Za-z0-9._+~-]{0,254})")


def wheels(requirements: Path, python_version: str, cache: Path) -> dict[str, ContextFile]:
    """Return the wheels of a hashed requirements file, by file name.

    :param python_version: of the image, e.g. ``3.11``.
    :param cache: folder that keeps what was downloaded.
    :raises ConfigurationError: ``lock-file-malformed``, ``download-refused``.
    :raises InputError: ``download-failed`` (retryable), ``build-input-changed``.
    """
    locked = _text(requirements)
    allowed = requirement_hashes(locked)
    folder = cache / f"wheels-{sha256_hex(f'{python_version} {locked}'.encode())[:16]}"
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--require-hashes"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={python_version}"),
        *(f"--platform={platform}" for platform in platforms),
        *("--requirement", str(requirements), "--dest", "{folder}"),
    ]
    _download_once(command, folder)
    files = {path.name: ContextFile.of(path) for path in sorted(folder.iterdir())}
    for name, file in files.items():
        if file.sha256 not in allowed:
            raise changed(name, file.sha256, f"a digest in {requirements.name}")
    return files


def jars(pom: Path, sums: Path, cache: Path) -> dict[str, ContextFile]:
    """Return the dependencies of a Maven project, by file name; exactly those that ``sums`` lists.

    :raises ConfigurationError: ``lock-file-malformed``, ``download-refused``, ``maven-missing``.
    :raises InputError: ``download-failed`` (retryable), ``build-input-changed``.
    """
    locked = file_hashes(_text(sums))
    folder = cache / f"jars-{sha256_hex((_text(pom) + _text(sums)).encode())[:16]}"
    maven = shutil.which("mvn")
    if maven is None and not folder.is_dir():
        raise ConfigurationError(
            "The image's jars cannot be downloaded.",
            code="maven-missing",
            got="no mvn on PATH",
            expected=f"Maven, or the jars in {folder.name} of the cache",
            action="install Maven on the machine that builds images",
        )
    goal = ["-B", "-q", "-f", str(pom), "dependency:copy-dependencies", "-DoutputDirectory={folder}"]
    _download_once([str(maven), *goal], folder)
    return _exactly(locked, folder, "*")


def packages(folder: Path) -> dict[str, ContextFile]:
    """Return Debian packages that somebody put into a folder, exactly those that its `SHA256SUMS` lists.

    :raises ConfigurationError: ``lock-file-unreadable``, ``lock-file-malformed``.
    :raises InputError: ``build-input-changed``.
    """
    return _exactly(file_hashes(_text(folder / SUMS)), folder, "*.deb")


def _exactly(locked: Mapping[str, str], folder: Path, pattern: str) -> dict[str, ContextFile]:
    files = {path.name: ContextFile.of(path) for path in sorted(folder.glob(pattern))}
    got = {name: file.sha256 for name, file in files.items()}
    if wrong := sorted({name for name, _ in got.items() ^ locked.items()}):
        raise changed(wrong[0], got.get(wrong[0], "absent"), locked.get(wrong[0], "no such file"))
    return files


def _download_once(command: Sequence[str], folder: Path) -> None:
    """Run a download into ``folder``, which exists only when it is complete."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as draft:
        target = Path(draft) / "files"
        target.mkdir()
        _run([part.replace("{folder}", str(target)) for part in command])
        try:
            target.rename(folder)
        except OSError:
            # Somebody else was quicker; what is there is checked like everything else.
            if not folder.is_dir():
                raise


def _run(command: Sequence[str]) -> None:
    log.info("Downloading with %s", Path(command[0]).name)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(f"no end after {TIMEOUT_SECONDS} s", retryable=True) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        log.error("%s", said[-4000:])
        passing = PASSING_CAUSES.search(said) is not None and WRONG_DIGEST not in said
        raise _failed(said[-300:], retryable=passing)


def _failed(got: str, *, retryable: bool) -> ConfidentialSparkError:
    kind = InputError if retryable else ConfigurationError
    return kind(
        "Third-party files of the image could not be downloaded.",
        code="download-failed" if retryable else "download-refused",
        got=shorten(got),
        expected="every file of the lock file, with its digest",
        action="check the package index or mirror that pip or Maven is configured for",
        retryable=retryable,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "A lock file of the image cannot be read.",
            code="lock-file-unreadable",
            got=str(error),
            expected=path.name,
            action="restore it from the repository",
        ) from error


def requirement_hashes(text: str) -> frozenset[str]:
    """Return every digest in a hashed `requirements.txt`.

    :raises ConfigurationError: ``lock-file-malformed``: a requirement without version or digest.
    """
    requirements = [line for line in text.replace("\\\n", " ").splitlines() if _is_content(line)]
    for line in requirements:
        if not _REQUIREMENT.match(line) or not _HASH_OPTION.search(line):
            raise _malformed(line, "name==version --hash=sha256:…")
    return frozenset(_HASH_OPTION.findall(text))


def file_hashes(text: str) -> Mapping[str, str]:
    """Return digest by file name from what `sha256sum` writes.

    :raises ConfigurationError: ``lock-file-malformed``: another line, or a name twice.
    """
    hashes: dict[str, str] = {}
    for line in filter(_is_content, text.splitlines()):
        match = _SUM.fullmatch(line)
        if match is None or match["name"] in hashes:
            raise _malformed(line, "digest, two spaces, a file name of its own")
        hashes[PurePosixPath(match["name"]).name] = match["sha256"]
    return hashes


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _malformed(line: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        "A lock file of the image is malformed.",
        code="lock-file-malformed",
        got=line,
        expected=expected,
        action="compile it again with `make lock`",
    )
