"""Where a location has a month's files: Azure's folders, the TLC's files, one file, or a template.

| layout | the month's files |
| --- | --- |
| `puYear=2018/puMonth=5/` | every file in it |
| `yellow_tripdata_2018-05.parquet` | that file alone, whatever else is in its folder |
| a file | that file; one that is named as the TLC's only for the month in its name |
| a template | what it gives for the month: a file, or a folder in which every file counts |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.folder import data_file, data_files, no_input, readable
from confidential_spark.jobs.input.location import AZURE_LAYOUT, local_folder, month_uri

if TYPE_CHECKING:
    from pathlib import Path

    from confidential_spark.core.months import Month

TLC_LAYOUT = "yellow_tripdata_{year}-{month:02d}.parquet"
TLC_FILE = re.compile(r"yellow_tripdata_([0-9]{4})-([0-9]{2})\.parquet", re.ASCII)


def month_input(location: str, month: Month) -> tuple[Path, list[Path]]:
    """Return the place of the month's input, a folder or a file, and the files that count.

    :param location: ``file:`` URI or path, of a folder or a file; or a template.
    :raises ConfigurationError: ``input-scheme``, ``input-uri``, ``input-template``.
    :raises InputError: as :func:`.folder.data_files`, ``input-month-mismatch``, ``input-two-layouts``.
    """
    if "{" in location or "}" in location:
        return files_at(local_folder(month_uri(location, month)), month)
    given = local_folder(location.strip())
    with readable(given):
        if given.is_file():
            return files_at(given, month)
        azure = local_folder(month_uri(location, month))
        file = given / _name(TLC_LAYOUT, month)
        if azure == given or not file.exists():
            return _files_in(given, azure, month)
        if azure.exists():
            raise _two_layouts(given, file, azure)
    return files_at(file, month)


def files_at(place: Path, month: Month) -> tuple[Path, list[Path]]:
    """Return a place that is the month's itself, and its files.

    :raises InputError: as :func:`month_input`.
    """
    with readable(place):
        if not place.is_file():
            return place, data_files(place, month)
    named = TLC_FILE.fullmatch(place.name)
    if named and (int(named[1]), int(named[2])) != (month.year, month.month):
        raise InputError(
            "The input is the file of another month.",
            code="input-month-mismatch",
            got=place.name,
            expected=_name(TLC_LAYOUT, month),
            action="give the folder of the files, or run the month that the file is of",
        )
    return place, [data_file(place)]


def _files_in(given: Path, azure: Path, month: Month) -> tuple[Path, list[Path]]:
    """Return the files of Azure's layout, or say what was looked for where there is none."""
    if azure != given and not given.exists():
        raise no_input(given)
    if azure != given and given.is_dir() and not azure.exists():
        found = sorted(path.name for path in given.iterdir() if TLC_FILE.fullmatch(path.name))
        raise _no_layout(given, month, f"{found[0]} to {found[-1]}" if found else "")
    return azure, data_files(azure, month)


def _name(layout: str, month: Month) -> str:
    return layout.format(year=month.year, month=month.month)


def _no_layout(given: Path, month: Month, tlc_files: str) -> InputError:
    expected = f"{_name(AZURE_LAYOUT, month)}/*.parquet (Azure) or {_name(TLC_LAYOUT, month)} (the TLC) in it"
    return InputError(
        f"There is no data for {month}.",
        code="month-without-data",
        got=f"{given}, with the TLC's files {tlc_files}" if tlc_files else f"{given}, which has neither",
        expected=f"{expected}, the file itself, or a template with {{year}} and {{month:02d}}",
        action="choose a month that the input has, or correct the input location",
    )


def _two_layouts(given: Path, file: Path, azure: Path) -> InputError:
    return InputError(
        "The month is there in two layouts.",
        code="input-two-layouts",
        got=f"{file.name} and {azure.relative_to(given)}",
        expected="one of them",
        action="give the file or the month's folder itself",
    )
