"""Which modules the verifier consists of, and which an auditor installs besides, for years and bundles."""

from __future__ import annotations

from functools import cache

import grimp


def reached_by_verify() -> frozenset[str]:
    """Return what `confidential-spark verify` imports of the package, late imports and parents included."""
    return _reached_by("__main__", "cli.main", "verification.verify")


def reached_by_audit() -> frozenset[str]:
    """Return what `confidential-spark audit verify` imports besides, but for years."""
    return _reached_by("cli.audit") - reached_by_verify() - reached_by_years()


def reached_by_years() -> frozenset[str]:
    """Return what the verification of years imports besides, by themselves and in a bundle."""
    return _reached_by("cli.year", "years.bundled") - reached_by_verify()


@cache
def _reached_by(*names: str) -> frozenset[str]:
    graph = grimp.build_graph("confidential_spark", cache_dir=None, exclude_type_checking_imports=True)
    starts = {f"confidential_spark.{name}" for name in names}
    reached = starts.union(*map(graph.find_upstream_modules, starts))
    parts = [name.split(".") for name in reached]
    return frozenset(".".join(names[:end]) for names in parts for end in range(1, len(names) + 1))
