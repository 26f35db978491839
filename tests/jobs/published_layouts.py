"""The usual trips of `trip_files` in every layout that they are published in, and as their types drift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.jobs.trip_files import TRIP, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TEXT, DOUBLE, INT64 = pa.string(), pa.float64(), pa.int64()
MICROSECONDS = pa.timestamp("us")
OF_TODAY = {
    "vendorID": ("VendorID", INT64),
    "tpepPickupDateTime": ("tpep_pickup_datetime", MICROSECONDS),
    "tpepDropoffDateTime": ("tpep_dropoff_datetime", MICROSECONDS),
    "passengerCount": ("passenger_count", DOUBLE),
    "tripDistance": ("trip_distance", DOUBLE),
    "puLocationId": ("PULocationID", INT64),
    "doLocationId": ("DOLocationID", INT64),
    "paymentType": ("payment_type", INT64),
    "fareAmount": ("fare_amount", DOUBLE),
    "tipAmount": ("tip_amount", DOUBLE),
    "totalAmount": ("total_amount", DOUBLE),
}
WITHOUT_ZONES = {name: column for name, column in OF_TODAY.items() if not name.endswith("LocationId")}
COORDINATES = {
    **dict.fromkeys(("pickup_longitude", "dropoff_longitude"), -73.98),
    **dict.fromkeys(("pickup_latitude", "dropoff_latitude"), 40.75),
}
OTHERS = {
    **{"RatecodeID": 1.0, "store_and_fwd_flag": "N", "extra": 0.5, "mta_tax": 0.5},
    **{"tolls_amount": 0.0, "improvement_surcharge": 0.3},
}

OF_2019 = OTHERS | {"congestion_surcharge": 2.5}


@dataclass(frozen=True)
class Layout:
    """How a version's files look.

    :param columns: our name → the file's, and the type there.
    :param others: columns that no job reads.
    :param payment: how the version writes "credit".
    """

    columns: Mapping[str, tuple[str, pa.DataType]]
    others: Mapping[str, Any] = field(default_factory=lambda: OTHERS)
    payment: Any = 1

    def table(
        self,
        changes: Sequence[Mapping[str, Any]],
        types: Mapping[str, pa.DataType] | None = None,
        spell: Any = str,
    ) -> pa.Table:
        """Return a usual trip for each of the changes, with these types in place of the version's own."""
        rows = [TRIP | {"paymentType": self.payment} | change for change in changes]
        columns = {
            spell(name): stored([row[own] for row in rows], (types or {}).get(own, kind))
            for own, (name, kind) in self.columns.items()
        }
        return pa.table(columns | {name: [value] * len(rows) for name, value in self.others.items()})

    def write(self, path: Path, changes: Sequence[Mapping[str, Any]], **options: Any) -> Path:
        """Write :meth:`table` to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.table(changes, **options), path)
        return path


def stored(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return the values of `trip_files` in a type of a file."""
    if kind == TEXT:
        return pa.array([None if value is None else str(value) for value in values])
    if pa.types.is_temporal(kind):
        return pa.array(values, kind)
    numbers = [float(value) if isinstance(value, str) else value for value in values]
    return pa.array(numbers, DOUBLE).cast(kind, safe=False)


LAYOUTS = {
    "azure-open-datasets": Layout({name: (name, kind) for name, kind in TYPES.items()}, {"startLon": None}),
    "tlc-2025": Layout(OF_TODAY, OF_2019 | {"Airport_fee": 0.0, "cbd_congestion_fee": 0.75}),
    "tlc-2021": Layout(OF_TODAY, OF_2019 | {"airport_fee": 0.0}),
    "tlc-2019": Layout(OF_TODAY, OF_2019),
    "tlc-2011": Layout(OF_TODAY),
    "tlc-2015-coordinates": Layout(WITHOUT_ZONES, OTHERS | COORDINATES),
    "tlc-2010": Layout(
        WITHOUT_ZONES
        | {
            "vendorID": ("vendor_id", TEXT),
            "tpepPickupDateTime": ("pickup_datetime", TEXT),
            "tpepDropoffDateTime": ("dropoff_datetime", TEXT),
            "passengerCount": ("passenger_count", INT64),
            "paymentType": ("payment_type", TEXT),
        },
        COORDINATES | {"rate_code": "1", "store_and_fwd_flag": "0", "surcharge": 0.5, "mta_tax": 0.5},
        payment="Cre",
    ),
    "tlc-2009": Layout(
        {
            "vendorID": ("vendor_name", TEXT),
            "tpepPickupDateTime": ("Trip_Pickup_DateTime", TEXT),
            "tpepDropoffDateTime": ("Trip_Dropoff_DateTime", TEXT),
            "passengerCount": ("Passenger_Count", INT64),
            "tripDistance": ("Trip_Distance", DOUBLE),
            "paymentType": ("Payment_Type", TEXT),
            "fareAmount": ("Fare_Amt", DOUBLE),
            "tipAmount": ("Tip_Amt", DOUBLE),
            "totalAmount": ("Total_Amt", DOUBLE),
        },
        {"Start_Lon": -73.98, "Start_Lat": 40.75, "Rate_Code": 1.0, "store_and_forward": 0.0},
        payment="CREDIT",
    ),
}
