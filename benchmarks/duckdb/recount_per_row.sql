-- The month's recount as it was when the goal for `make run` was set: each row's texts and rules are judged, row by row.
-- The present one, plugins/confidential_spark/jobs/nytaxi/recount.sql, gives the same sums for less.
CREATE TEMP MACRO modulo(x, m) AS ((x % m) + m) % m;
CREATE TEMP MACRO floor_div(x, m) AS (x - modulo(x, m)) // m;
CREATE TEMP MACRO is_true(condition) AS CAST(coalesce(condition, false) AS INTEGER);
CREATE TEMP MACRO units(x, per_one, below) AS
    CASE WHEN isfinite(x) AND abs(x) < below THEN CAST(floor(x * per_one + 0.5) AS BIGINT) END;
CREATE TEMP MACRO whole_number(text) AS
    CASE WHEN trim(text, '0123456789') = '' THEN TRY_CAST(text AS INTEGER) END;
CREATE TEMP MACRO in_zones(n) AS CASE WHEN n BETWEEN 1 AND 265 THEN n ELSE -1 END;
CREATE TEMP MACRO zone_of(id) AS
    CASE WHEN id IS NULL THEN 0 ELSE in_zones(whole_number(trim(id, E' \t\r\n'))) END;
CREATE TEMP MACRO payment_word(word) AS CASE
    WHEN starts_with(word, 'car') OR starts_with(word, 'cr') THEN 'credit'
    WHEN starts_with(word, 'ca') OR starts_with(word, 'cs') THEN 'cash'
    WHEN starts_with(word, 'no') THEN 'no_charge'
    WHEN starts_with(word, 'di') THEN 'dispute'
    WHEN starts_with(word, 'un') OR starts_with(word, 'na') THEN 'unknown'
    WHEN starts_with(word, 'vo') THEN 'voided' END;
CREATE TEMP MACRO payment_of(code) AS CASE
    WHEN code IS NULL THEN 'unknown'
    WHEN code IN ('1', '2', '3', '4', '5', '6')
    THEN list_extract(['credit', 'cash', 'no_charge', 'dispute', 'unknown', 'voided'], TRY_CAST(code AS INTEGER))
    ELSE payment_word(lower(trim(code, ' '))) END;

CREATE TEMP TABLE recounted AS
WITH read AS (
    SELECT
        floor_div(epoch_us("tpepPickupDateTime"), 1000000) AS pickup_s,
        floor_div(epoch_us("tpepDropoffDateTime"), 1000000) AS dropoff_s,
        units("fareAmount", 100, 1e7) AS fare,
        units("tipAmount", 100, 1e7) AS tip,
        units("totalAmount", 100, 1e7) AS total,
        units("tripDistance", 1000, 1e6) AS distance,
        zone_of("puLocationId") AS pickup_zone,
        zone_of("doLocationId") AS dropoff_zone,
        payment_of("paymentType") AS payment_type,
        "passengerCount" AS passengers,
        "vendorID" IS NULL AS no_vendor,
        "paymentType" IS NULL AS no_payment
    FROM read_parquet($files, hive_partitioning = false, union_by_name = true)
),
timed AS (
    SELECT *, dropoff_s - pickup_s AS duration FROM read
),
judged AS (
    SELECT
        *,
        [
            is_true(pickup_s IS NULL),
            is_true(pickup_s < $starts_at OR pickup_s >= $ends_at),
            is_true(dropoff_s IS NULL),
            is_true(duration < 0),
            is_true(duration > 6 * 3600),
            is_true(fare IS NULL OR tip IS NULL OR total IS NULL),
            is_true(fare < 0 OR total < 0),
            is_true(fare > $cap OR tip > $cap OR total > $cap),
            is_true(distance IS NULL OR distance < 0 OR distance > 500 * 1000)
        ] AS rejections
    FROM timed
)
SELECT
    -- 0 where no rule rejects.
    coalesce(list_position(rejections, 1), 0) AS reason,
    CASE WHEN reason = 0 THEN modulo(pickup_s, 86400) // 3600 END AS hour,
    CASE WHEN reason = 0 THEN greatest(pickup_zone, 0) END AS zone,
    CASE WHEN reason = 0 THEN coalesce(payment_type, 'unknown') END AS payment_type,
    count(*) AS trips,
    coalesce(sum(total), 0) AS revenue_cents,
    coalesce(sum(fare), 0) AS fare_cents,
    coalesce(sum(tip), 0) AS tip_cents,
    coalesce(sum(distance), 0) AS distance_millimiles,
    coalesce(sum(duration), 0) AS duration_s,
    min(pickup_s) AS first_pickup_s,
    max(pickup_s) AS last_pickup_s,
    sum(rejections[1]) AS pickup_time_missing,
    sum(rejections[2]) AS pickup_outside_month,
    sum(rejections[3]) AS dropoff_time_missing,
    sum(rejections[4]) AS dropoff_before_pickup,
    sum(rejections[5]) AS duration_over_6h,
    sum(rejections[6]) AS amount_unusable,
    sum(rejections[7]) AS fare_negative,
    sum(rejections[8]) AS amount_outlier,
    sum(rejections[9]) AS distance_unusable,
    count_if(distance = 0) AS distance_zero,
    count_if(duration = 0) AS duration_zero,
    count_if(passengers = 0) AS passengers_zero,
    count_if(passengers IS NULL) AS passengers_missing,
    count_if(no_vendor) AS vendor_missing,
    count_if(no_payment) AS payment_missing,
    count_if(no_vendor AND no_payment AND passengers IS NULL) AS vendor_payment_passengers_missing,
    count_if(payment_type IS NULL) AS payment_unrecognised,
    count_if(pickup_zone = 0) AS pickup_zone_missing,
    count_if(pickup_zone IN (264, 265)) AS pickup_zone_unknown,
    count_if(pickup_zone = -1) AS pickup_zone_invalid,
    count_if(dropoff_zone = 0) AS dropoff_zone_missing,
    count_if(dropoff_zone IN (264, 265)) AS dropoff_zone_unknown,
    count_if(dropoff_zone = -1) AS dropoff_zone_invalid
FROM judged
GROUP BY ALL;
