"""Templates and the formats in which people read numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

HERE = Path(__file__).parent
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STYLESHEET = (HERE / "static" / "style.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "static" / "page.js").read_text(encoding="utf-8")
ICON, ICON_DARK = ((HERE / "static" / name).read_text("utf-8") for name in ("icon.svg", "icon-dark.svg"))


def count(value: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{value:,}"


def moment(value: datetime | None) -> str:
    """Return a time in UTC to the second, or a dash."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if value else "–"


def span(value: timedelta | None) -> str:
    """Return a duration, e.g. ``1 h 02 min`` or ``4.2 s``, or a dash."""
    if value is None:
        return "–"
    seconds = value.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return (
        f"{minutes} min {int(seconds % 60):02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def size(value: int) -> str:
    """Return a number of bytes, e.g. ``278 kB``."""
    number, units = float(value), ("kB", "MB", "GB", "TB")
    if value < 1000:
        return f"{value} bytes"
    for unit in units:
        number /= 1000
        if number < 999.5 or unit == units[-1]:
            break
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, moment=moment, size=size, span=span)
    environment.globals.update(month_names=MONTH_NAMES)
    return environment


_ENVIRONMENT = _environment()


def render(template: str, *, root: str, **values: Any) -> str:
    """Return a page.

    :param root: relative address of the list page, so that links work behind any prefix.
    """
    return _ENVIRONMENT.get_template(template).render(root=root, **values)
