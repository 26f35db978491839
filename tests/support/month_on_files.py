"""A published month in a results folder, and how people, tools and this project read it there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
import zipfile
from contextlib import redirect_stdout
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from confidential_spark.cli.main import main
from confidential_spark.core.months import Month
from confidential_spark.hooks.results.folder_store import FolderStore
from confidential_spark.hooks.results.store import GRACE, month_key
from confidential_spark.ui.results.archive import archive
from confidential_spark.ui.results.published import DOCUMENTS, Published

from tests.support.factories.bundles import POLICY
from tests.support.published_months import Files, Style, TornError, Version, require_complete, versions

if TYPE_CHECKING:
    from datetime import timedelta

DAG_ID, MONTH, NEXT_MONTH = "nytaxi_local", Month(2018, 5), Month(2018, 6)
KEY = month_key(MONTH)
AT = "2026-11-23T10:01:00Z"


class MonthOnFiles:
    """A month below a results folder.

    :param folder: for the results, and for what verifying needs beside them.
    :param grace: how long replaced versions are kept.
    """

    def __init__(self, folder: Path, grace: timedelta = GRACE) -> None:
        self.results = folder / "results"
        self.store = FolderStore(self.results, DAG_ID)
        self.link = self.results / DAG_ID / KEY
        self._grace = grace
        self._tries = count(1)
        policy, keys = folder / "policy.yaml", folder / "jwks.json"
        policy.write_text(yaml.safe_dump(POLICY))
        keys.write_text(json.dumps(versions()[0].bundle.jwks))
        self._verifying = ["--policy", str(policy), "--jwks", str(keys), "--at", AT]

    def publish(self, version: Version) -> None:
        staging = self.store.stage(KEY, f"run{next(self._tries)}.try1")
        for name, content in version.files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_bytes(content)
        self.store.publish(staging, version.digests, grace=self._grace)

    def styles(self) -> list[Style]:
        link, evidence = str(self.link), str(self.link / "evidence.json")
        return [
            Style("resolve once, read by path", lambda: read_tree(os.path.realpath(link))),
            Style("open the folder, read below it", lambda: read_below(link)),
            Style("tar -C LINK", lambda: untarred(link)),
            Style("cd LINK, cp -r .", lambda: copied('cd "$1" && cp -r . "$2"', link)),
            Style("cp -r $(realpath LINK)/.", lambda: copied('cp -r "$(realpath "$1")/." "$2"', link)),
            Style("FolderStore.published", lambda: read_tree(str(self.store.published(KEY).location))),
            Style("trailing summaries", self.trailing),
            Style("the page's documents and table", self.page),
            Style("the page's archive", self.archive),
            Style("verify LINK/evidence.json", lambda: self.verify(evidence)),
            Style("verify … --results LINK", lambda: self.verify(evidence, "--results", link)),
            Style("file by file through the link", lambda: read_tree(link), consistent=False),
        ]

    def trailing(self) -> Files:
        (summary,) = self.store.trailing_summaries(NEXT_MONTH, 3)
        return {"summary.json": json.dumps(summary).encode()}

    def page(self) -> Files:
        result = Published(self.results).result(DAG_ID, KEY)
        contents = {name: result.content(name) for name in DOCUMENTS} if result else {}
        rows = result.rows("by_hour") if result else []
        found = {name: content for name, content in contents.items() if content}
        if len(found) < len(DOCUMENTS) or not rows:
            raise TornError(f"the page shows only {sorted(found)} and {len(rows)} rows")
        # Each row of a version's table has the version's number.
        return {**found, "by_hour.parquet": versions()[rows[0]["trips"]].files["by_hour.parquet"]}

    def archive(self) -> Files:
        result = Published(self.results).result(DAG_ID, KEY)
        content = result and archive(result.folder, "month")
        if not content:
            raise TornError("there is no archive")
        return unzipped(content)

    def verify(self, evidence: str, *options: str) -> None:
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())) as output:
            status = main(["verify", evidence, *self._verifying, *options])
            output.seek(0)
            if status != 0:
                raise TornError(output.read())


def unzipped(content: bytes) -> Files:
    """Return the files of a page's archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return require_complete({name.removeprefix("month/"): file.read(name) for name in file.namelist()})


def read_tree(folder: str) -> Files:
    """Return every file below a folder, each by its path."""
    paths = [Path(place) / name for place, _, names in os.walk(folder, onerror=_refuse) for name in names]
    return require_complete({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


def _refuse(error: OSError) -> None:
    raise error


def read_below(folder: str) -> Files:
    """Return every file below a folder that is opened once."""
    files = {}
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for place, _, names, descriptor in os.fwalk(".", onerror=_refuse, dir_fd=opened):
            for name in names:
                with open(os.open(name, os.O_RDONLY, dir_fd=descriptor), "rb") as file:  # noqa: PTH123 - no path
                    files[Path(place, name).as_posix()] = file.read()
    finally:
        os.close(opened)
    return require_complete(files)


def untarred(folder: str) -> Files:
    """Return what tar packs when it changes into a folder."""
    packed = output_of("tar", "-C", folder, "-cf", "-", ".")
    with tarfile.open(fileobj=io.BytesIO(packed)) as file:
        members = [(member, file.extractfile(member)) for member in file.getmembers() if member.isfile()]
        return require_complete({Path(member.name).as_posix(): content.read() for member, content in members})


def copied(script: str, folder: str) -> Files:
    """Return what a shell script copies from the folder $1 to the folder $2."""
    with tempfile.TemporaryDirectory() as copy:
        output_of("sh", "-c", script, "sh", folder, copy)
        return read_tree(copy)


def output_of(*command: str) -> bytes:
    """Return what a command prints, or its complaint as an error."""
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode != 0:
        raise TornError(f"{command[0]}: {done.stderr.decode()}")
    return done.stdout
