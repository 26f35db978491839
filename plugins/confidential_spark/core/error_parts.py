"""From an error's line back to its parts: logs, XComs and terminals keep lines."""

from __future__ import annotations

import re

PARTS = re.compile(
    r"(?:\[(?P<code>[a-z0-9-]+)\] )?(?P<what>.*?)"
    r"(?: · got: (?P<got>.*?))?(?: · expected: (?P<expected>.*?))?(?: · do: (?P<do>.*))?",
    re.DOTALL,
)


def parts_of(line: str) -> dict[str, str]:
    """Take an error's line apart: ``code``, ``what``, ``got``, ``expected``, ``do``, those that it has.

    :param line: as :func:`.agent.errors.one_line` made it; any other text is ``what``.
    """
    found = PARTS.fullmatch(line)
    return {name: part for name, part in (found.groupdict() if found else {}).items() if part}
