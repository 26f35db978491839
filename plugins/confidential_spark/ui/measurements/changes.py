"""What differs between the enclave in use and a proposed one: identity, inputs, commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ConfigurationError
from confidential_spark.image_build.context import recorded_inputs
from confidential_spark.image_build.inputs import MAX_COMMITS, commits_between
from confidential_spark.settings import PROJECT_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.enclave.image import EnclaveImage
    from confidential_spark.image_build.context import InputList
    from confidential_spark.image_build.inputs import Commit

NOTHING = "–"
UNKNOWN = "not known"
MAX_FILES = 300


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    :param differs: None where nothing is there to compare with.
    """

    label: str
    now: str
    proposed: str
    differs: bool | None

    @property
    def word(self) -> str:
        """What the line says in one word."""
        return "" if self.differs is None else "CHANGED" if self.differs else "same"


@dataclass(frozen=True)
class FileChange:
    """One input that differs.

    :param what: ``added``, ``removed``, ``changed`` or ``mode``.
    """

    path: str
    what: str
    now: str
    proposed: str


@dataclass(frozen=True)
class InputChanges:
    """The inputs that differ.

    :param files: those that are shown, by path.
    :param count: how many differ.
    :param same: how many are equal.
    :param base: the base images' digests and the build's arguments.
    :param unknown: why there is nothing to compare; empty where there is.
    """

    files: tuple[FileChange, ...] = ()
    count: int = 0
    same: int = 0
    base: tuple[Row, ...] = ()
    unknown: str = ""


@dataclass(frozen=True)
class CommitChanges:
    """The commits between two revisions that touch what an image is made of, the newest first.

    :param added: those that only the proposed revision has.
    :param missing: those that only the revision in use has: they would be undone.
    :param unknown: why they are not known; empty where they are.
    """

    added: tuple[Commit, ...] = ()
    missing: tuple[Commit, ...] = ()
    unknown: str = ""
    most: int = MAX_COMMITS


def rows(now: EnclaveImage | None, proposed: EnclaveImage, revisions: tuple[str, str]) -> tuple[Row, ...]:
    """Return the identities side by side.

    :param revisions: of the image in use, empty where it is not known, and of the proposed one.
    """
    labels = {
        "MRENCLAVE": "mrenclave",
        "MRSIGNER": "mrsigner",
        "product id": "product_id",
        "security version": "svn",
        "image": "digest",
        "inputs": "inputs_sha256",
    }
    before, after = revisions
    found = [
        _row(label, str(getattr(now, name)) if now else "", str(getattr(proposed, name)))
        for label, name in labels.items()
    ]
    return (*found, _row("revision", before, after))


def input_changes(ledger: Path, now: EnclaveImage | None, proposed: EnclaveImage) -> InputChanges:
    """Compare what two images were built from, as the builds have recorded it.

    :param ledger: beside which the lists are kept.
    """
    after = recorded_inputs(ledger, proposed.inputs_sha256)
    if after is None:
        return InputChanges(unknown="There is no list of the proposed image's inputs on this server.")
    if now is None or not now.inputs_sha256:
        return InputChanges(
            same=len(after.files),
            base=_bases(None, after),
            unknown="There is no image in use to compare with.",
        )
    before = recorded_inputs(ledger, now.inputs_sha256)
    if before is None:
        return InputChanges(
            same=len(after.files),
            base=_bases(None, after),
            unknown="There is no list of the inputs of the image in use on this server.",
        )
    changes = file_changes(before, after)
    same = len(before.files.keys() & after.files.keys()) - sum(
        change.what in ("changed", "mode") for change in changes
    )
    return InputChanges(changes[:MAX_FILES], len(changes), same, _bases(before, after))


def file_changes(before: InputList, after: InputList) -> tuple[FileChange, ...]:
    """Return the files that differ, by path."""
    found = []
    executable = set(before.executables) ^ set(after.executables)
    for path in sorted(before.files.keys() | after.files.keys()):
        old, new = before.files.get(path, ""), after.files.get(path, "")
        if old != new:
            what = "changed" if old and new else "added" if new else "removed"
            found.append(FileChange(path, what, old, new))
        elif path in executable:
            found.append(FileChange(path, "mode", old, new))
    return tuple(found)


def commit_changes(older: str, newer: str) -> CommitChanges:
    """Return the commits between two revisions, as this server's work tree of git has them.

    :param older: of the image in use; empty where it is not known.
    """
    if not older:
        return CommitChanges(unknown="There is no revision in use to compare with.")
    try:
        return CommitChanges(
            commits_between(PROJECT_DIR, older, newer), commits_between(PROJECT_DIR, newer, older)
        )
    except ConfigurationError:
        return CommitChanges(unknown="This server has no work tree of git with both revisions.")


def _bases(before: InputList | None, after: InputList) -> tuple[Row, ...]:
    base = _row("base image", before.base_image if before else "", after.base_image)
    arguments = before.build_args if before else {}
    names = sorted(arguments.keys() | after.build_args.keys())
    found = [_row(name, arguments.get(name, ""), after.build_args.get(name, "")) for name in names]
    return (base, *found)


def _row(label: str, now: str, proposed: str) -> Row:
    differs = now != proposed if now else None
    return Row(label, now or NOTHING, proposed or NOTHING, differs)
