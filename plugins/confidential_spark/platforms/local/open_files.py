"""The limit of open files (`ulimit -n`): Java reports a low one as any failure but this one."""

from __future__ import annotations

import resource

from confidential_spark.core.errors import ConfigurationError

NEEDED = 512
"""Measured: Spark, its jars and libraries need more than 256, however many files a month has."""


def require_open_files() -> None:
    """Raise the limit of this process and its children as far as a run needs.

    :raises ConfigurationError: ``open-files-limit``: it may not be raised so far.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if is_enough(soft):
        return
    if not is_enough(hard):
        raise ConfigurationError(
            "A process may not have as many files open as Spark needs.",
            code="open-files-limit",
            got=f"ulimit -n {hard}",
            expected=f"{NEEDED} or more",
            action="raise it where Airflow is started: `ulimit -n 1024`, nofile in "
            "/etc/security/limits.conf, or LimitNOFILE= of its service",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED, hard))


def is_enough(limit: int) -> bool:
    """Return whether a run can work within a limit."""
    return limit == resource.RLIM_INFINITY or limit >= NEEDED
