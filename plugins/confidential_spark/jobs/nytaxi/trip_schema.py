"""The columns of a yellow-taxi trip file.

Source: Azure Open Datasets, table "yellow" (NYC Taxi & Limousine Commission): 21 columns, partitions
`puYear=`/`puMonth=`. `docs/results.md` states the same contract for people.
"""

from __future__ import annotations

from confidential_spark.jobs.input.contract import InputContract, Kind
from confidential_spark.jobs.trips.schema_versions import trip_versions

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
TRIPS = InputContract(title="a yellow-taxi file", columns=TRIP_COLUMNS, versions=trip_versions())
