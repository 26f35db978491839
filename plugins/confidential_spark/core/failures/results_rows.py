"""What keeps results in Azure Blob Storage from being written or read; raised by `hooks/results`, by name."""

from __future__ import annotations

from confidential_spark.core.failures.model import Failure, fatal, transient

PAGE = "results-storage"

RESULTS: tuple[Failure, ...] = (
    fatal(
        "results-location",
        PAGE,
        "The location of the results is no folder, and no usable address of blobs.",
        "Correct CONFIDENTIAL_SPARK_RESULTS_DIR.",
    ),
    transient(
        "results-unreachable",
        PAGE,
        "The storage of the results did not answer in time.",
        "Nothing first: it is tried again. If it stays, check the account's name, DNS and firewall.",
    ),
    fatal(
        "results-forbidden",
        PAGE,
        "The credentials of the results do not allow what was asked.",
        "Renew them in the Airflow connection: read, list, create, write and delete on the container.",
    ),
    fatal(
        "results-container-missing",
        PAGE,
        "The container of the results does not exist.",
        "Make it, or correct CONFIDENTIAL_SPARK_RESULTS_DIR.",
    ),
    fatal(
        "results-refused",
        PAGE,
        "The storage of the results refused a request for a reason of its own.",
        "Look its code up in Azure's documentation of the Blob service.",
    ),
    transient(
        "results-lease-lost",
        PAGE,
        "The storage was away for longer than a task's hold on its try lasts.",
        "Nothing: the task tries again, and nothing of this attempt was kept.",
    ),
    transient(
        "results-busy",
        PAGE,
        "Others published the same month again and again meanwhile.",
        "Run fewer runs of the same month at once.",
    ),
    fatal(
        "results-unusable",
        PAGE,
        "Something else has written among the files of a try.",
        "Find out what writes below the results, then run again as a new try.",
    ),
    fatal(
        "results-altered",
        PAGE,
        "A published file is not the one that was published.",
        "Treat it as an attack: find out who may write below the results, and publish the month again.",
    ),
    fatal(
        "results-too-large",
        PAGE,
        "A version is too large to be copied while somebody waits for a page.",
        "Copy it with `confidential-spark results get`, and verify the copy.",
    ),
)
