"""An audit bundle of a range: the same results, policy, ledger and programs give the same bytes.

One month at a time is in memory. What the deployment finds of a month while the bundle is made is written
into it as the deployment's word, for people; the auditor's own verification decides.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from confidential_spark.agent.protocol import canonical_json, sha256_hex
from confidential_spark.audit.archive import written
from confidential_spark.audit.basis import Basis
from confidential_spark.audit.judgement import EVIDENCE, judge_month
from confidential_spark.audit.making.credentials import require_no_credential
from confidential_spark.audit.making.policy_files import policy_files
from confidential_spark.audit.making.readme import SCRIPT_TEXT, readme
from confidential_spark.audit.manifest import (
    CHECKSUM,
    JOBS_FOLDER,
    KEYS,
    MANIFEST,
    MONTHS_FOLDER,
    README,
    SCRIPT,
    FileEntry,
    Manifest,
    MonthEntry,
    bundle_stem,
    checksum_line,
    entry_of,
)
from confidential_spark.audit.months import months_between, whole_years
from confidential_spark.core.errors import ConfidentialSparkError, InputError, VerificationError
from confidential_spark.verification.evidence.bundle import MAX_EVIDENCE_BYTES, Evidence
from confidential_spark.verification.evidence.result_files import (
    COMPANIONS,
    require_distinct,
    require_safe_name,
)
from confidential_spark.years.bundled import OWN_FILES, YEARS_FOLDER, verdict_on
from confidential_spark.years.months import Acceptance
from confidential_spark.years.sums import YEARS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from confidential_spark.audit.making.policy_files import PolicyFiles
    from confidential_spark.verification import VerificationReport

MAX_MONTH_BYTES = 256 * 1024 * 1024
# What a store says of a file that is not the published one: the month goes without it, and is refused.
ALTERED = "results-altered"


class MonthFiles(Protocol):
    """The files of one published version."""

    def names(self) -> list[str]:
        """Return the names of its plain files."""

    def content(self, name: str, limit: int) -> bytes:
        """Return a file's content.

        :raises OSError: it is absent, unreadable or no plain file.
        :raises ValueError: it has more than ``limit`` bytes.
        """


@dataclass(frozen=True)
class Sources:
    """What a bundle is made of.

    :param policy: path of the policy that the DAG's evidence must satisfy.
    :param job_files: the job's program, then older forms of it that months of the range were made with.
    :param published: month → the version that is published now, or None.
    :param years: year → the sum of its months that is published now, or None.
    :param ended: month → how its last run ended, as a code, or empty; asked of months of which nothing is
        published.
    """

    job: str
    platform: str
    policy: Path
    job_files: Sequence[Path]
    published: Callable[[str], MonthFiles | None]
    years: Callable[[str], MonthFiles | None] = lambda year: None
    ended: Callable[[str], str] = lambda month: ""


def bundle(sources: Sources, first: str, last: str) -> Iterator[bytes]:
    """Yield a bundle, in pieces.

    :param first: ``YYYY-MM``.
    :raises InputError: ``audit-range``, ``audit-credential``, ``audit-too-large``.
    :raises ConfigurationError: ``audit-policy-paths``.
    :raises PolicyError: the policy is unusable.
    :raises OSError: the policy's roots or a program are unreadable.
    """
    return written(_Making(sources, first, last).files())


class _Making:
    """One bundle in the making."""

    def __init__(self, sources: Sources, first: str, last: str) -> None:
        self._sources = sources
        self._months = months_between(first, last)
        self._policy: PolicyFiles = policy_files(sources.policy)
        programs = [path.read_bytes() for path in sources.job_files]
        digests = tuple(sha256_hex(program) for program in programs)
        names = [f"{sources.job}.py", *(f"{digest}.py" for digest in digests[1:])]
        self._programs = {
            f"{JOBS_FOLDER}/{name}": program for name, program in zip(names, programs, strict=True)
        }
        self._basis = Basis(policy=self._policy.policy, job_digests=digests)
        self._dag_id = f"{sources.job}_{sources.platform}"
        self._entries: dict[str, FileEntry] = {}
        self._found: dict[str, MonthEntry] = {}
        self._keys: dict[bytes, Any] = {}
        self._evidence: dict[str, str] = {}
        self._years: dict[str, MonthEntry] = {}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield every file by its name in the archive; the manifest and its checksum last."""
        stem = bundle_stem(self._dag_id, self._months[0], self._months[-1])
        for name, content in self._contents():
            require_no_credential(name, content)
            self._entries[name] = FileEntry(**entry_of(content))
            yield f"{stem}/{name}", content
        manifest = self._manifest().to_bytes()
        yield f"{stem}/{MANIFEST}", manifest
        yield f"{stem}/{CHECKSUM}", checksum_line(manifest)

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        for month in self._months:
            for name, content in self._month(month).items():
                yield f"{MONTHS_FOLDER}/{month}/{name}", content
        for year in whole_years(self._months) if self._sources.job in YEARS else ():
            for name, content in self._year(year).items():
                yield f"{YEARS_FOLDER}/{year}/{name}", content
        yield from self._policy.files.items()
        yield from self._programs.items()
        if self._keys:
            yield KEYS, canonical_json(self._key_set()) + b"\n"
        yield SCRIPT, SCRIPT_TEXT.encode()
        yield (
            README,
            readme(
                self._sources.job, self._sources.platform, self._policy.policy, self._found, self._years
            ).encode(),
        )

    def _month(self, month: str) -> dict[str, bytes]:
        files = self._sources.published(month)
        if files is None:
            self._found[month] = MonthEntry(found="MISSING", reason=self._sources.ended(month))
            return {}
        contents = month_contents(month, files)
        evidence = contents.get(EVIDENCE, b"")
        self._evidence[month] = sha256_hex(evidence)
        basis = replace(self._basis, jwks=self._own_keys(evidence))
        report = judge_month(month, self._dag_id, evidence, contents, basis)
        left_out = len(set(files.names()) - contents.keys())
        self._found[month] = MonthEntry(
            found=report.outcome.word, reason=report.code or "", left_out=left_out
        )
        self._remember_key(evidence, report)
        return contents

    def _year(self, year: str) -> dict[str, bytes]:
        files = self._sources.years(year)
        if files is None:
            self._years[year] = MonthEntry(found="MISSING")
            return {}
        pinned = self._policy.policy.attestation.token_signing_keys is not None
        jwks = None if pinned else canonical_json(self._key_set())
        accept = Acceptance(self._policy.policy, jwks=jwks)
        with TemporaryDirectory(prefix="audit-") as private:
            folder = Path(private)
            for name in files.names():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(files.content(name, MAX_MONTH_BYTES))
            expected, digests = (self._sources.job, year), self._basis.job_digests
            found = verdict_on(folder, expected, accept, digests, self._evidence)
        self._years[year] = MonthEntry(found=found.word, reason=found.code)
        present = OWN_FILES & set(files.names())
        return {name: files.content(name, MAX_EVIDENCE_BYTES) for name in sorted(present)}

    def _key_set(self) -> dict[str, Any]:
        return {"keys": [self._keys[key] for key in sorted(self._keys)]}

    def _own_keys(self, evidence: bytes) -> bytes | None:
        """Return the key set that came with the run, where the policy pins none."""
        if self._policy.policy.attestation.token_signing_keys is not None:
            return None
        try:
            return Evidence.parse(evidence).jwks.encode()
        except ConfidentialSparkError:
            return b"{}"

    def _remember_key(self, evidence: bytes, report: VerificationReport) -> None:
        """Keep the key that signed a verified month's token, and no other."""
        if report.passed:
            for key in json.loads(Evidence.parse(evidence).jwks)["keys"]:
                if key.get("kid") == report.facts.key_id:
                    self._keys[canonical_json(key)] = key

    def _manifest(self) -> Manifest:
        return Manifest(
            job=self._sources.job,
            platform=self._sources.platform,
            first=self._months[0],
            last=self._months[-1],
            months=self._found,
            policy=self._policy.name,
            ledger=self._policy.ledger,
            keys=KEYS if self._keys else None,
            job_files=list(self._programs),
            files=dict(sorted(self._entries.items())),
            years=self._years or None,
        )


def month_contents(month: str, files: MonthFiles) -> dict[str, bytes]:
    """Return the files that the evidence lists, and its companions, as far as they are there.

    :raises InputError: ``audit-too-large``.
    """
    present = set(files.names())
    contents: dict[str, bytes] = {}
    left = MAX_MONTH_BYTES

    def take(names: Iterable[str], limit: int) -> None:
        nonlocal left
        for name in names:
            content = _content(month, files, name, min(left, limit))
            if content is not None:
                contents[name] = content
                left -= len(content)

    take(sorted(COMPANIONS & present), MAX_EVIDENCE_BYTES)
    take(sorted(listed(contents.get(EVIDENCE, b"")) & present - contents.keys()), MAX_MONTH_BYTES)
    return contents


def listed(evidence: bytes) -> set[str]:
    """Return the names that a bundle's statement lists; none where no file could safely have one of them."""
    try:
        subjects = Evidence.parse(evidence).statement.members.members.get("subject")
        items = subjects if isinstance(subjects, list) else []
        names = {str(item.get("name")) for item in items if isinstance(item, dict)}
        for name in names:
            require_safe_name(name)
        require_distinct(names)
    except VerificationError:
        return set()
    return names


def _content(month: str, files: MonthFiles, name: str, limit: int) -> bytes | None:
    try:
        return files.content(name, limit)
    except ConfidentialSparkError as error:
        if error.code != ALTERED:
            raise
        return None
    except ValueError as error:
        raise InputError(
            "A month is too large for a bundle.",
            code="audit-too-large",
            got=f"{month}: {name}: {error}",
            expected=f"at most {MAX_MONTH_BYTES:,} bytes a month",
            action="hand this month over by itself: `confidential-spark results get`",
        ) from error
