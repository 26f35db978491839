"""What a yellow-taxi trip file must look like, and the mark that says it was made up.

Source: Azure Open Datasets, table "yellow" (NYC Taxi & Limousine Commission): 21 columns, partitions
`puYear=`/`puMonth=`. `docs/results.md` states the same contract for people.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SYNTHETIC_KEY = b"confidential_spark.synthetic"
SYNTHETIC_NOTICE = "SYNTHETIC – made by confidential-spark, not TLC data"


class Kind(StrEnum):
    """A column's type as the contract states it; each admits the Parquet types Spark reads as such."""

    STRING = "string"
    TIMESTAMP = "timestamp"
    INTEGER = "int32"
    DOUBLE = "double"


TRIP_COLUMNS: dict[str, Kind] = {
    "vendorID": Kind.STRING,
    "tpepPickupDateTime": Kind.TIMESTAMP,
    "tpepDropoffDateTime": Kind.TIMESTAMP,
    "passengerCount": Kind.INTEGER,
    "tripDistance": Kind.DOUBLE,
    "puLocationId": Kind.STRING,
    "doLocationId": Kind.STRING,
    "startLon": Kind.DOUBLE,
    "startLat": Kind.DOUBLE,
    "endLon": Kind.DOUBLE,
    "endLat": Kind.DOUBLE,
    "rateCodeId": Kind.INTEGER,
    "storeAndFwdFlag": Kind.STRING,
    "paymentType": Kind.STRING,
    "fareAmount": Kind.DOUBLE,
    "extra": Kind.DOUBLE,
    "mtaTax": Kind.DOUBLE,
    "improvementSurcharge": Kind.STRING,
    "tipAmount": Kind.DOUBLE,
    "tollsAmount": Kind.DOUBLE,
    "totalAmount": Kind.DOUBLE,
}


def carries_synthetic_mark(metadata: pq.FileMetaData) -> bool:
    """Return whether a Parquet footer says that its rows were made up."""
    return SYNTHETIC_KEY in (metadata.metadata or {})
