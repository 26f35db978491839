"""Which version of a job's table a month's files are of, by the columns in their footers.

The runner decides the same in the enclave (`Input.scala`); here it is known before one is started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confidential_spark.jobs.input.contract import InputContract, SchemaVersion
    from confidential_spark.jobs.input.parquet.footer import FileColumn, Footer

# A type, and those that hold each of its values.
WIDENS = {
    "tinyint": ("smallint", "int", "bigint", "float", "double", "string"),
    "smallint": ("int", "bigint", "float", "double", "string"),
    "int": ("bigint", "double", "string"),
    "bigint": ("string",),
    "float": ("double",),
    "timestamp_ntz": ("timestamp",),
}


def recognise(footers: Sequence[Footer], contract: InputContract) -> SchemaVersion:
    """Return the first version that fits every file.

    :raises InputError: ``input-schema``, with the nearest version and what differs from it.
    """
    for version in contract.layouts:
        if not any(differences(footer, version) for footer in footers):
            _require_common_types(footers, version)
            return version
    raise _of_no_version(footers, contract)


def differences(footer: Footer, version: SchemaVersion) -> list[str]:
    """Return what keeps a file from being of a version."""
    found = [_difference(footer, name, types) for name, types in version.sources.items()]
    if version.one_of and not any(footer.named(name) for name in version.one_of):
        found.append(f"{' or '.join(version.one_of)} is missing")
    return [difference for difference in found if difference]


def spelling(footer: Footer, name: str) -> str:
    """Return how a file that is of a version spells one of its columns."""
    return footer.named(name)[0]


def _difference(footer: Footer, name: str, types: Sequence[str]) -> str | None:
    names = footer.named(name)
    if not names:
        return f"{name} is missing"
    columns = footer.columns[names[0]]
    if len(names) > 1 or (len(columns) > 1 and columns[0].type):
        return f"{name} occurs twice ({', '.join(names)})"
    if not _is_one_of(columns[0].type, types):
        return f"{names[0]} is {columns[0].stored} instead of {' or '.join(types)}"
    return None


def _is_one_of(kind: str | None, types: Sequence[str]) -> bool:
    return kind is not None and (kind in types or kind.partition("(")[0] in types)


def _require_common_types(footers: Sequence[Footer], version: SchemaVersion) -> None:
    """Refuse a month whose files have a column in types that none of them holds."""
    for name, types in version.sources.items():
        columns = [footer.columns[spelling(footer, name)][0] for footer in footers]
        found = dict.fromkeys(column.type for column in columns if column.type)
        if not any(all(_holds(kind, own) for own in found) for kind in (*found, *types)):
            raise _of_two_types(name, footers, columns)


def _holds(kind: str, own: str) -> bool:
    return own == kind or kind in WIDENS.get(own, ())


def _of_two_types(name: str, footers: Sequence[Footer], columns: Sequence[FileColumn]) -> InputError:
    first = columns[0]
    other = next(number for number, column in enumerate(columns) if column.type != first.type)
    return InputError(
        "The month's files do not store a column in the same way.",
        code="input-schema",
        got=f"{footers[other].name}: {name} is {columns[other].stored}",
        expected=f"{first.stored}, as in {footers[0].name}, or a type that holds both",
        action="write all files of the month in the same way",
    )


def _of_no_version(footers: Sequence[Footer], contract: InputContract) -> InputError:
    nearest = min(contract.layouts, key=lambda version: sum(len(differences(f, version)) for f in footers))
    footer = next(footer for footer in footers if differences(footer, nearest))
    problems = "; ".join(differences(footer, nearest))
    names = ", ".join(version.name for version in contract.versions)
    return InputError(
        f"{footer.name} does not have the columns of {contract.title}.",
        code="input-schema",
        got=f"{problems} (compared with {nearest.name}, the nearest version)" if names else problems,
        expected=f"a version of {contract.title}: {names}"
        if names
        else f"the {len(nearest.sources)} columns of {contract.title}",
        action="give files with the columns and types that docs/results.md lists under Input",
    )
