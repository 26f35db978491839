"""The layouts that yellow-taxi trips are published in, and where each has the columns that jobs read.

Sources: Azure Open Datasets, table "yellow"; the TLC's monthly files `yellow_tripdata_YYYY-MM.parquet`, and
for 2015 and 2016 its former CSV files. A version of the TLC's is named after the year since which files are
of it; the TLC has also published older months again in newer versions.
`include/jobs/` declares the same for the runner, and `docs/results.md` for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confidential_spark.jobs.input.contract import Column, SchemaVersion

if TYPE_CHECKING:
    from collections.abc import Collection

COUNT = ("int", "bigint", "smallint", "tinyint", "double", "float")
ID = ("string", *COUNT)
AMOUNT = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
TIME = ("timestamp", "timestamp_ntz", "string")
# By the names of Azure's layout, which are also the jobs'.
TRIP_TYPES = {
    "vendorID": ID,
    "tpepPickupDateTime": TIME,
    "tpepDropoffDateTime": TIME,
    "passengerCount": COUNT,
    "tripDistance": AMOUNT,
    "puLocationId": ID,
    "doLocationId": ID,
    "paymentType": ID,
    "fareAmount": AMOUNT,
    "tipAmount": AMOUNT,
    "totalAmount": AMOUNT,
}
AZURE = {name: name for name in TRIP_TYPES}
TLC = {
    "vendorID": "VendorID",
    "tpepPickupDateTime": "tpep_pickup_datetime",
    "tpepDropoffDateTime": "tpep_dropoff_datetime",
    "passengerCount": "passenger_count",
    "tripDistance": "trip_distance",
    "puLocationId": "PULocationID",
    "doLocationId": "DOLocationID",
    "paymentType": "payment_type",
    "fareAmount": "fare_amount",
    "tipAmount": "tip_amount",
    "totalAmount": "total_amount",
}
# Until the middle of 2016 a trip had coordinates, and no zones.
COORDINATES = {name: source for name, source in TLC.items() if not name.endswith("LocationId")}
OF_2010 = COORDINATES | {
    "vendorID": "vendor_id",
    "tpepPickupDateTime": "pickup_datetime",
    "tpepDropoffDateTime": "dropoff_datetime",
}
OF_2009 = {
    "vendorID": "vendor_name",
    "tpepPickupDateTime": "Trip_Pickup_DateTime",
    "tpepDropoffDateTime": "Trip_Dropoff_DateTime",
    "passengerCount": "Passenger_Count",
    "tripDistance": "Trip_Distance",
    "paymentType": "Payment_Type",
    "fareAmount": "Fare_Amt",
    "tipAmount": "Tip_Amt",
    "totalAmount": "Total_Amt",
}
# Name → columns, and those that tell it from a later one with the same columns. The first that fits counts.
VERSIONS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "azure-open-datasets": (AZURE, ()),
    "tlc-2025": (TLC, ("cbd_congestion_fee",)),
    "tlc-2021": (TLC, ("airport_fee",)),
    "tlc-2019": (TLC, ("congestion_surcharge",)),
    "tlc-2011": (TLC, ()),
    "tlc-2015-coordinates": (COORDINATES, ("pickup_longitude",)),
    "tlc-2010": (OF_2010, ()),
    "tlc-2009": (OF_2009, ()),
}


def trip_versions(columns: Collection[str] = TRIP_TYPES) -> tuple[SchemaVersion, ...]:
    """Return the versions, for a job that reads some of the columns."""
    return tuple(
        SchemaVersion(
            name,
            {column: Column(sources.get(column), TRIP_TYPES[column]) for column in columns},
            one_of,
        )
        for name, (sources, one_of) in VERSIONS.items()
    )
