"""Where the figures come from: machine, its load, and versions."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from confidential_spark.enclave.java import find_java

PACKAGES = ("apache-airflow", "pyspark", "duckdb", "polars", "pyarrow", "PyJWT", "dcap-qvl")


def machine() -> dict[str, object]:
    """Return processor, cores, memory, kernel and present load."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024**2) if memory else None,
        "kernel": platform.release(),
        "load": load(),
    }


def load() -> float:
    """Return how many processes want a core, averaged over five minutes."""
    return round(os.getloadavg()[1], 1)


def versions() -> dict[str, str]:
    """Return what the figures were made with."""
    found = {"Python": platform.python_version(), "Java": str(find_java().version)}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
