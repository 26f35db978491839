"""The fields of the trigger form."""

from __future__ import annotations

from airflow.sdk import Param

from confidential_spark.core.months import MONTH_PATTERN
from confidential_spark.jobs.input.blob_location import PUBLIC_DATA_SET
from confidential_spark.years.sums import YEAR_PATTERN

# Without TLS only an emulator on this machine, whose addresses verdict and pages show.
INPUT_PATTERN = r"^((file|wasbs|abfss|https)://|http://(127\.0\.0\.1|localhost):)[^\s?#]+$"


def month_param() -> Param:
    """Return the trigger form's month field."""
    return Param(
        None,
        type=["null", "string"],
        pattern=MONTH_PATTERN,
        title="Month",
        section="Run",
        description_md="`YYYY-MM` from 2009-01 on, e.g. `2018-05`. Leave empty for the run's data interval: "
        "a logical date stands for the last month that is over by then, `2018-06-01` and `2018-06-15` for "
        "`2018-05`. Leave empty in a back-fill, whose intervals are the months.",
    )


def year_param() -> Param:
    """Return the trigger form's year field."""
    return Param(
        None,
        type=["null", "string"],
        pattern=YEAR_PATTERN,
        title="Year",
        section="Run",
        description_md="`YYYY` from 2009 on, e.g. `2018`. A run that a month has started has its own.",
    )


def input_param() -> Param:
    """Return the trigger form's input field."""
    return Param(
        None,
        type=["null", "string"],
        pattern=INPUT_PATTERN,
        title="Input location",
        section="Run",
        description_md="A URI such as `file:///data/yellow`: a folder of `puYear=` folders or of the TLC's "
        "`yellow_tripdata_YYYY-MM.parquet`, or one such file; or a template with `{year}` and `{month}`, "
        f"such as the public data set's `{PUBLIC_DATA_SET}`. Never with a SAS token in it: name a connection "
        "in the settings. Leave empty for the deployment's setting.",
    )


def publish_param() -> Param:
    """Return the trigger form's publish switch."""
    return Param(
        True,
        type="boolean",
        title="Publish",
        section="Run",
        description_md="Off: everything runs and is checked, nothing is published.",
    )


def remove_param() -> Param:
    """Return the trigger form's switch of housekeeping."""
    return Param(
        False,
        type="boolean",
        title="Remove",
        section="Run",
        description_md="Off: the log says what is older than it is kept, and nothing is removed.",
    )


def outlier_cap_param() -> Param:
    """Return the trigger form's outlier cap."""
    return Param(
        1000,
        type="integer",
        minimum=1,
        maximum=1_000_000,
        title="Outlier cap (US dollars)",
        section="NYTaxi",
        description_md="A trip whose fare, tip or total is above this is counted and left out of the "
        "sums. One fare of $429,490.20 (2018-08) moves a yearly mean by itself.",
    )


def partitions_param() -> Param:
    """Return the trigger form's number of SparkPi partitions."""
    return Param(
        4,
        type="integer",
        minimum=1,
        maximum=1000,
        title="Partitions",
        section="SparkPi",
        description_md="Each partition draws 200,000 points.",
    )
