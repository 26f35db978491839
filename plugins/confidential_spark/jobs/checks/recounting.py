"""A DuckDB of its own for each recount: bounded memory, nothing on disk, one named error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confidential_spark.core.errors import ResultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

MEMORY_LIMIT = "1GB"
THREADS = 2
# Memory that is freed goes back to the system at once: by default DuckDB keeps more of it with each file.
KEPT_WHEN_FREED = "4MB"


@contextmanager
def recounting() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection for the time of one recount.

    :raises ResultError: ``recount-failed``: the input can no longer be read, or memory does not suffice.
    """
    import duckdb  # 0.3 s that a DAG file must not pay

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "threads": THREADS,
        "temp_directory": "",
        "allocator_flush_threshold": KEPT_WHEN_FREED,
        "allocator_bulk_deallocation_flush_threshold": KEPT_WHEN_FREED,
    }
    try:
        with duckdb.connect(config=settings) as connection:
            # It would be drawn into the log of a task, from the third second on.
            connection.execute("SET enable_progress_bar = false")
            yield connection
    except duckdb.Error as error:
        raise ResultError(
            "The input could not be recounted.",
            code="recount-failed",
            got=str(error),
            expected="the files that the job read",
            action="look whether the input is still there and unchanged",
        ) from error
