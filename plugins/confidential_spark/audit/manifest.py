"""The manifest of an audit bundle: every file with its SHA-256, every month and year of the range by name.

It has one form: a manifest that does not come out byte for byte when it is written again is refused. It is
the bundle's own word. What it says of a month is shown and never believed.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from confidential_spark.agent.protocol import MONTH_PATTERN, sha256_hex
from confidential_spark.audit.months import months_between, whole_years
from confidential_spark.core.errors import ConfidentialSparkError, VerificationError
from confidential_spark.verification import strict_json
from confidential_spark.verification.evidence.result_files import require_distinct, require_safe_name
from confidential_spark.verification.refusals import Refusal
from confidential_spark.years.bundled import OWN_FILES, YEARS_FOLDER

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
README, SCRIPT = "README.md", "verify-all.sh"
POLICY_FOLDER, JOBS_FOLDER, MONTHS_FOLDER = "policy", "jobs", "months"
KEYS = "keys/signing-keys.json"
MEDIA_TYPE: Literal["application/vnd.confidential-spark.audit-bundle.v1+json"] = (
    "application/vnd.confidential-spark.audit-bundle.v1+json"
)
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_FILES = 20_000
MAX_NAME_BYTES = 1024

Text = Annotated[str, Field(max_length=MAX_NAME_BYTES)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Found = Annotated[str, Field(pattern=r"^(VERIFIED|REFUSED|NOT CHECKED|STALE|MISSING)$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class FileEntry(_Part):
    """One file of the bundle."""

    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MonthEntry(_Part):
    """What the deployment found of a month, or of a year, when the bundle was made.

    :param reason: code of the refusal; of a missing month, how its last run ended, where known.
    :param left_out: files beside the results that no evidence lists, which are not in the bundle.
    """

    found: Found
    reason: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,64}$")] = ""
    left_out: Count = 0


class Manifest(_Part):
    """The whole manifest.

    :param policy: name of the policy's file in the bundle.
    :param ledger: name of the ledger of approvals, where the policy needs one and it was there.
    :param keys: name of the attestation provider's signing keys, as the months' evidence brings them.
    :param job_files: names of the job's programs.
    :param years: of which all months are in the range; None where there are none, or the job has none, and
        in bundles that are older than years.
    """

    mediaType: Literal["application/vnd.confidential-spark.audit-bundle.v1+json"] = MEDIA_TYPE
    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    platform: Annotated[str, Field(pattern=r"^[a-z0-9]{1,40}$")]
    first: Annotated[str, Field(pattern=MONTH_PATTERN)]
    last: Annotated[str, Field(pattern=MONTH_PATTERN)]
    months: dict[str, MonthEntry]
    policy: Text
    ledger: Text | None
    keys: Text | None
    job_files: list[Text]
    files: Annotated[dict[Text, FileEntry], Field(max_length=MAX_FILES)]
    years: dict[str, MonthEntry] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if tuple(self.months) != months_between(self.first, self.last):
            raise ValueError("months: not each month of the range, once and in order")
        if self.years is not None and tuple(self.years) != whole_years(self.months):
            raise ValueError("years: not each year of which all months are in the range, once and in order")
        if list(self.files) != sorted(self.files):
            raise ValueError("files: not in order")
        for name in self.files:
            require_safe_name(name)
            if not self._has_place(name):
                raise ValueError(f"files: {name!a} has no place in a bundle")
        require_distinct([*self.files, MANIFEST, CHECKSUM])
        named = [README, SCRIPT, self.policy, self.ledger, self.keys, *self.job_files]
        if absent := [name for name in named if name is not None and name not in self.files]:
            raise ValueError(f"files: no {absent[0]!a}, which is named elsewhere")
        return self

    def _has_place(self, name: str) -> bool:
        folder, _, rest = name.partition("/")
        if folder == MONTHS_FOLDER:
            month, _, rest = rest.partition("/")
            return month in self.months and bool(rest)
        if folder == YEARS_FOLDER:
            year, _, rest = rest.partition("/")
            return year in (self.years or ()) and rest in OWN_FILES
        return name in (README, SCRIPT, KEYS) or (folder in (POLICY_FOLDER, JOBS_FOLDER) and bool(rest))

    @property
    def dag_id(self) -> str:
        """The DAG whose runs the months are said to be of."""
        return f"{self.job}_{self.platform}"

    @property
    def stem(self) -> str:
        """The bundle's folder."""
        return bundle_stem(self.dag_id, self.first, self.last)

    def files_of(self, month: str) -> list[str]:
        """Return the names of a month's files, in the bundle."""
        below = f"{MONTHS_FOLDER}/{month}/"
        return [name for name in self.files if name.startswith(below)]

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        absent = {"years"} if self.years is None else None
        return (json.dumps(self.model_dump(exclude=absent), ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest.

        :raises VerificationError: ``audit-manifest-malformed``.
        """
        try:
            value = strict_json.loads(
                data,
                what="manifest",
                max_bytes=MAX_MANIFEST_BYTES,
                malformed=Refusal.EVIDENCE_MALFORMED,
                duplicate=Refusal.EVIDENCE_DUPLICATE_KEY,
            )
            manifest = cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "manifest"
            raise _malformed(f"{place}: {first['msg']}") from error
        except ConfidentialSparkError as error:
            raise _malformed(f"{error.message} {error.got or ''}") from error
        if manifest.to_bytes() != data:
            raise _malformed("members in another order, other white space or other escapes")
        return manifest


def bundle_stem(dag_id: str, first: object, last: object) -> str:
    """Return the name of the bundle's folder, and of its file without the ending.

    :param first: month, ``YYYY-MM`` in its text, as ``last``.
    """
    return f"audit-{dag_id}-{first}-to-{last}"


def checksum_line(manifest: bytes) -> bytes:
    """Return what stands in :data:`CHECKSUM`, as `sha256sum --check` reads it."""
    return f"{sha256_hex(manifest)}  {MANIFEST}\n".encode()


def entry_of(content: bytes) -> dict[str, Any]:
    """Return the entry of a file with this content, as plain values."""
    return {"bytes": len(content), "sha256": sha256_hex(content)}


def _malformed(got: str) -> VerificationError:
    return VerificationError(
        "The bundle's manifest is malformed.",
        code="audit-manifest-malformed",
        got=got,
        expected="a manifest as `audit bundle` writes it",
        action="ask for the bundle again; do not repair it",
    )
