-- The figures of the view `trips`, recounted as docs/results.md defines them; written without the job's code.
-- One row per first reason to reject, 0 for none, and of the accepted rows one per hour, one per zone and one per
-- payment type: a few hundred, which files can be added up by. Whole numbers throughout, UTC by arithmetic.
-- Millions of rows have a few hundred different texts. Each is judged once, which takes half the time.
WITH zones AS MATERIALIZED (
    SELECT id, zone_of(CAST(id AS VARCHAR)) AS zone
    FROM (SELECT "puLocationId" AS id FROM trips UNION SELECT "doLocationId" FROM trips)
),
payments AS MATERIALIZED (
    SELECT code, payment_of(CAST(code AS VARCHAR)) AS payment_type
    FROM (SELECT DISTINCT "paymentType" AS code FROM trips)
),
read AS (
    SELECT
        whole_seconds("tpepPickupDateTime") AS pickup_s,
        whole_seconds("tpepDropoffDateTime") AS dropoff_s,
        units("fareAmount", 100, 1e7) AS fare,
        units("tipAmount", 100, 1e7) AS tip,
        units("totalAmount", 100, 1e7) AS total,
        units("tripDistance", 1000, 1e6) AS distance,
        -- Of a join with nothing: null where there is no text, and for a payment type also where it is none.
        pickup.zone AS pickup_zone,
        dropoff.zone AS dropoff_zone,
        payments.payment_type,
        "passengerCount" AS passengers,
        "vendorID" IS NULL AS no_vendor,
        "paymentType" IS NULL AS no_payment
    FROM trips
    LEFT JOIN zones AS pickup ON pickup.id = "puLocationId"
    LEFT JOIN zones AS dropoff ON dropoff.id = "doLocationId"
    LEFT JOIN payments ON payments.code = "paymentType"
),
-- Materialised, or DuckDB would merge what follows into one step and work out each amount many times over.
timed AS MATERIALIZED (
    SELECT *, dropoff_s - pickup_s AS duration FROM read
),
judged AS MATERIALIZED (
    SELECT
        *,
        CASE
            -- Most rows meet no rule, and need not be tested against each.
            WHEN pickup_s >= $starts_at AND pickup_s < $ends_at AND duration BETWEEN 1 AND 6 * 3600
                AND fare BETWEEN 0 AND $cap AND total BETWEEN 0 AND $cap AND tip <= $cap
                AND distance BETWEEN 1 AND 500 * 1000
                AND passengers <> 0 AND NOT no_vendor AND payment_type IS NOT NULL
                AND pickup_zone BETWEEN 1 AND 263 AND dropoff_zone BETWEEN 1 AND 263
            THEN 0
            ELSE
                is_true(pickup_s IS NULL)
                + is_true(pickup_s < $starts_at OR pickup_s >= $ends_at) * 2
                + is_true(dropoff_s IS NULL) * 4
                + is_true(duration < 0) * 8
                + is_true(duration > 6 * 3600) * 16
                + is_true(fare IS NULL OR tip IS NULL OR total IS NULL) * 32
                + is_true(fare < 0 OR total < 0) * 64
                + is_true(fare > $cap OR tip > $cap OR total > $cap) * 128
                + is_true(distance IS NULL OR distance < 0 OR distance > 500 * 1000) * 256
                + is_true(distance = 0) * 512
                + is_true(duration = 0) * 1024
                + is_true(passengers = 0) * 2048
                + is_true(passengers IS NULL) * 4096
                + is_true(no_vendor) * 8192
                + is_true(no_payment) * 16384
                + is_true(dropoff_zone IS NULL) * 32768
                + is_true(dropoff_zone IN (264, 265)) * 65536
                + is_true(dropoff_zone = -1) * 131072
        END AS met
    FROM timed
),
counted AS (
    SELECT
        met,
        -- No row from before 1970 is accepted.
        CASE WHEN met % 512 = 0 THEN pickup_s // 3600 % 24 END AS hour,
        pickup_zone,
        payment_type AS payment,
        count(*) AS trips,
        sum(total) AS total,
        sum(fare) AS fare,
        sum(tip) AS tip,
        sum(distance) AS distance,
        sum(duration) AS duration,
        min(pickup_s) AS first_pickup_s,
        max(pickup_s) AS last_pickup_s
    FROM judged
    GROUP BY ALL
),
keyed AS (
    SELECT
        * EXCLUDE (met),
        met
            + is_true(pickup_zone IS NULL) * 262144
            + is_true(pickup_zone IN (264, 265)) * 524288
            + is_true(pickup_zone = -1) * 1048576
            + is_true(payment IS NULL AND met & 16384 = 0) * 2097152
            + is_true(payment = 7) * 4194304 AS met,
        CASE WHEN met % 512 = 0 THEN greatest(coalesce(pickup_zone, 0), 0) END AS zone,
        CASE WHEN met % 512 = 0 THEN payment_name(payment) END AS payment_type
    FROM counted
),
grouped AS (
    SELECT
        met,
        hour,
        zone,
        payment_type,
        sum(trips) AS trips,
        sum(total) AS total,
        sum(fare) AS fare,
        sum(tip) AS tip,
        sum(distance) AS distance,
        sum(duration) AS duration,
        min(first_pickup_s) AS first_pickup_s,
        max(last_pickup_s) AS last_pickup_s
    FROM keyed
    GROUP BY GROUPING SETS ((met), (hour), (zone), (payment_type))
)
SELECT
    -- The place of the first rule that rejects, 0 where none does.
    CASE WHEN met % 512 = 0 THEN 0 ELSE bit_count((met & -met) - 1) + 1 END AS reason,
    hour,
    zone,
    payment_type,
    sum(trips) AS trips,
    coalesce(sum(total), 0) AS revenue_cents,
    coalesce(sum(fare), 0) AS fare_cents,
    coalesce(sum(tip), 0) AS tip_cents,
    coalesce(sum(distance), 0) AS distance_millimiles,
    coalesce(sum(duration), 0) AS duration_s,
    min(first_pickup_s) AS first_pickup_s,
    max(last_pickup_s) AS last_pickup_s,
    sum(trips) FILTER ((met & 1) > 0) AS pickup_time_missing,
    sum(trips) FILTER ((met & 2) > 0) AS pickup_outside_month,
    sum(trips) FILTER ((met & 4) > 0) AS dropoff_time_missing,
    sum(trips) FILTER ((met & 8) > 0) AS dropoff_before_pickup,
    sum(trips) FILTER ((met & 16) > 0) AS duration_over_6h,
    sum(trips) FILTER ((met & 32) > 0) AS amount_unusable,
    sum(trips) FILTER ((met & 64) > 0) AS fare_negative,
    sum(trips) FILTER ((met & 128) > 0) AS amount_outlier,
    sum(trips) FILTER ((met & 256) > 0) AS distance_unusable,
    sum(trips) FILTER ((met & 512) > 0) AS distance_zero,
    sum(trips) FILTER ((met & 1024) > 0) AS duration_zero,
    sum(trips) FILTER ((met & 2048) > 0) AS passengers_zero,
    sum(trips) FILTER ((met & 4096) > 0) AS passengers_missing,
    sum(trips) FILTER ((met & 8192) > 0) AS vendor_missing,
    sum(trips) FILTER ((met & 16384) > 0) AS payment_missing,
    sum(trips) FILTER ((met & 28672) = 28672) AS vendor_payment_passengers_missing,
    sum(trips) FILTER ((met & 2097152) > 0) AS payment_unrecognised,
    sum(trips) FILTER ((met & 4194304) > 0) AS payment_flex_fare,
    sum(trips) FILTER ((met & 262144) > 0) AS pickup_zone_missing,
    sum(trips) FILTER ((met & 524288) > 0) AS pickup_zone_unknown,
    sum(trips) FILTER ((met & 1048576) > 0) AS pickup_zone_invalid,
    sum(trips) FILTER ((met & 32768) > 0) AS dropoff_zone_missing,
    sum(trips) FILTER ((met & 65536) > 0) AS dropoff_zone_unknown,
    sum(trips) FILTER ((met & 131072) > 0) AS dropoff_zone_invalid
FROM grouped
GROUP BY ALL
