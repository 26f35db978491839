"""Write the list of classes that the simulated image's class archive is made of.

Only needed when Spark, Java or a job changes: run a job once with ``-XX:DumpLoadedClassList=<file>`` and give
the file to this script. A stale list costs time at the start of a run, and nothing else.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "plugins/confidential_spark/simulation/enclave/spark-classes.txt"
# A class that Java's own loaders found; others, made while the job ran, name their source as well.
LOADED = re.compile(r"(?P<name>[\w$/-]+) id: [0-9]+")


def main() -> None:
    """Replace the list in the repository."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dumped", type=Path, help="what the JVM wrote")
    names = class_names(parser.parse_args().dumped.read_text(encoding="utf-8"))
    LIST.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    print(f"{LIST.name}: {len(names)} classes")


def class_names(dumped: str) -> list[str]:
    """Return the classes by name; the order in which they were loaded depends on the machine."""
    return sorted({match["name"] for line in dumped.splitlines() if (match := LOADED.fullmatch(line))})


if __name__ == "__main__":
    main()
