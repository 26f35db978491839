"""Failures have names: what a log and an exit code mean, and what to do about it.

``classify(lines, exit_code)`` reads a whole log, ``LogWatcher`` a streaming one; both give a ``Diagnosis``.
"""

from confidential_spark.core.failures.diagnosis import (
    Diagnosis,
    LogWatcher,
    Sighting,
    classify,
    failure_named,
)
from confidential_spark.core.failures.model import Failure, FailureKind
from confidential_spark.core.failures.table import FAILURES, UNNAMED

__all__ = [
    "FAILURES",
    "UNNAMED",
    "Diagnosis",
    "Failure",
    "FailureKind",
    "LogWatcher",
    "Sighting",
    "classify",
    "failure_named",
]
