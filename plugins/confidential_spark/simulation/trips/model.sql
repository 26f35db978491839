-- One chunk of synthetic trips: rows $first (included) to $last (excluded) of the month.
-- Each random draw is a hash of (month's stream, row number, number of the draw), so a row is the same whichever
-- chunk, thread or run makes it. Shares are those of 360,000 real rows (NYC TLC, Azure "yellow"); money is cents.
WITH started AS (
    SELECT
        i,
        pick(getvariable('hours'), uniform(i, 0)) AS full_hour,
        full_hour // 3600 % 24 AS hour,
        -- 1 January 1970 was a Thursday.
        (full_hour // 86400 + 3) % 7 AS weekday_from_monday
    FROM range($first, $last) AS numbers (i)
),
placed AS (
    SELECT
        i,
        full_hour + CAST(floor(3600 * uniform(i, 1)) AS BIGINT) AS pickup,
        weekday_from_monday < 5 AND hour BETWEEN 16 AND 19 AS rush_hour,
        hour >= 20 OR hour < 6 AS night,
        CASE WHEN uniform(i, 2) < 0.032 THEN 132 WHEN uniform(i, 2) < 0.060 THEN 138 END AS airport,
        uniform(i, 3) < 0.5 AS from_airport,
        pick(getvariable('zones'), uniform(i, 4)) AS origin_zone,
        pick(getvariable('zones'), uniform(i, 5)) AS destination_zone
    FROM started
),
driven AS (
    SELECT
        *,
        airport = 132 AND uniform(i, 6) < 0.85 AS flat_fare,
        CASE
            WHEN uniform(i, 7) < 0.012 THEN 0
            WHEN airport = 132 THEN round(greatest(8, 17 + 1.5 * normal(i, 8)), 2)
            WHEN airport = 138 THEN round(greatest(4, 9.5 + 1.5 * normal(i, 8)), 2)
            ELSE round(least(40, greatest(0.05, exp(0.42 + 0.72 * normal(i, 8)))), 2)
        END AS miles,
        exp(0.28 * normal(i, 10)) * CASE WHEN rush_hour THEN 0.85 WHEN night THEN 1.25 ELSE 1 END AS traffic
    FROM placed
),
timed AS (
    SELECT
        *,
        CASE
            WHEN miles = 0 THEN 5 + CAST(floor(240 * uniform(i, 12)) AS BIGINT)
            ELSE greatest(20, CAST(3600 * miles / ((6.8 + 0.9 * least(miles, 12)) * traffic) AS BIGINT))
        END AS seconds
    FROM driven
),
metered AS (
    SELECT
        *,
        CASE
            WHEN i = getvariable('outlier_row') THEN 42949020
            WHEN flat_fare THEN 5200
            ELSE getvariable('flag_drop_cents')
                + getvariable('unit_cents') * CAST(floor(5 * miles) + floor(0.5 * seconds / 60) AS BIGINT)
        END AS fare,
        CASE WHEN flat_fare AND rush_hour THEN 450 WHEN rush_hour THEN 100 WHEN night THEN 50 ELSE 0 END AS extra,
        CASE WHEN uniform(i, 13) < 0.005 THEN 0 ELSE getvariable('mta_cents') END AS mta,
        getvariable('improvement_cents') AS improvement,
        CASE WHEN airport IS NOT NULL AND uniform(i, 14) < 0.5 THEN getvariable('toll_cents') ELSE 0 END AS tolls,
        uniform(i, 15) < 0.0023 AS refunded,
        CASE
            WHEN uniform(i, 16) < 0.695 THEN 1
            WHEN uniform(i, 16) < 0.993 THEN 2
            WHEN uniform(i, 16) < 0.9985 THEN 3
            ELSE 4
        END AS payment
    FROM timed
),
charged AS (
    SELECT
        * REPLACE (CASE WHEN refunded THEN 3 + payment % 2 ELSE payment END AS payment),
        CASE WHEN refunded THEN -1 ELSE 1 END AS sign,
        CASE
            WHEN refunded OR payment <> 1 OR uniform(i, 17) < 0.05 OR fare > 100000 THEN 0
            ELSE CAST(floor((fare + extra) * (0.15 + 0.05 * floor(4 * uniform(i, 18)))) AS BIGINT)
        END AS tip,
        uniform(i, 19) < 0.023 AS record_incomplete,
        CASE
            WHEN uniform(i, 20) < 0.0021 THEN 82800 + CAST(floor(3600 * uniform(i, 21)) AS BIGINT)
            WHEN uniform(i, 20) < 0.0025 THEN -1 - CAST(floor(3600 * uniform(i, 21)) AS BIGINT)
            ELSE seconds
        END AS clocked_seconds,
        CASE
            WHEN uniform(i, 22) < 0.0001 THEN getvariable('days') * 86400
            WHEN uniform(i, 22) < 0.0002 THEN -getvariable('days') * 86400
            WHEN uniform(i, 22) < 0.0003 THEN getvariable('stray_clock_epoch') - pickup
            ELSE 0
        END AS clock_error
    FROM metered
),
located AS (
    SELECT
        *,
        CASE WHEN uniform(i, 23) < 0.012 THEN 264 + CAST(uniform(i, 23) < 0.002 AS INTEGER)
             WHEN from_airport THEN coalesce(airport, origin_zone) ELSE origin_zone END AS pickup_zone,
        CASE WHEN uniform(i, 24) < 0.012 THEN 264 + CAST(uniform(i, 24) < 0.002 AS INTEGER)
             WHEN NOT from_airport THEN coalesce(airport, destination_zone) ELSE destination_zone END AS dropoff_zone,
        uniform(i, 25) >= 0.015 AS has_position,
        -73.98 + 0.012 * normal(i, 26) AS longitude,
        40.754 + 0.016 * normal(i, 28) AS latitude,
        2 * pi() * uniform(i, 30) AS bearing
    FROM charged
)
SELECT
    CASE WHEN NOT record_incomplete THEN pick(getvariable('vendors'), uniform(i, 31)) END AS "vendorID",
    make_timestamp((pickup + clock_error) * 1000000) AS "tpepPickupDateTime",
    make_timestamp((pickup + clock_error + clocked_seconds) * 1000000) AS "tpepDropoffDateTime",
    CASE
        WHEN record_incomplete THEN NULL
        ELSE CAST(pick(getvariable('passengers'), uniform(i, 32)) AS INTEGER)
    END AS "passengerCount",
    CAST(miles AS DOUBLE) AS "tripDistance",
    CASE WHEN getvariable('has_zones') THEN CAST(pickup_zone AS VARCHAR) END AS "puLocationId",
    CASE WHEN getvariable('has_zones') THEN CAST(dropoff_zone AS VARCHAR) END AS "doLocationId",
    CASE WHEN NOT getvariable('has_zones') THEN degrees(has_position, longitude) END AS "startLon",
    CASE WHEN NOT getvariable('has_zones') THEN degrees(has_position, latitude) END AS "startLat",
    CASE WHEN NOT getvariable('has_zones') THEN degrees(has_position, longitude + miles / 70 * cos(bearing)) END AS "endLon",
    CASE WHEN NOT getvariable('has_zones') THEN degrees(has_position, latitude + miles / 92 * sin(bearing)) END AS "endLat",
    CAST(CASE WHEN flat_fare THEN 2 ELSE pick(getvariable('rate_codes'), uniform(i, 33)) END AS INTEGER) AS "rateCodeId",
    CASE WHEN uniform(i, 34) < 0.005 THEN 'Y' ELSE 'N' END AS "storeAndFwdFlag",
    CASE
        WHEN record_incomplete THEN NULL
        -- Real months carry shifted columns: a coordinate where the payment type belongs.
        WHEN uniform(i, 35) < 0.0005 THEN CAST(round(longitude, 4) AS VARCHAR)
        WHEN payment = 1 THEN pick(getvariable('card'), uniform(i, 36))
        WHEN payment = 2 THEN pick(getvariable('cash'), uniform(i, 36))
        WHEN payment = 3 THEN pick(getvariable('no_charge'), uniform(i, 36))
        ELSE pick(getvariable('dispute'), uniform(i, 36))
    END AS "paymentType",
    dollars(sign * fare) AS "fareAmount",
    dollars(sign * extra) AS "extra",
    dollars(sign * mta) AS "mtaTax",
    CASE WHEN improvement > 0 THEN CAST(dollars(sign * improvement) AS VARCHAR) END AS "improvementSurcharge",
    dollars(tip) AS "tipAmount",
    dollars(sign * tolls) AS "tollsAmount",
    dollars(sign * (fare + extra + mta + improvement + tolls) + tip) AS "totalAmount"
FROM located
