-- Accepted trips per day and pick-up zone, recounted from the view `trips` as docs/results.md defines them; written
-- without the job's code.
WITH read AS (
    SELECT
        -- Whole seconds; rows from before 1970 are in no month, so that it does not matter how those are rounded.
        epoch_us("tpepPickupDateTime") // 1000000 AS pickup_s,
        epoch_us("tpepDropoffDateTime") // 1000000 AS dropoff_s,
        [units("fareAmount", 100, 1e7), units("totalAmount", 100, 1e7), units("tipAmount", 100, 1e7)] AS money,
        units("tripDistance", 1000, 1e6) AS distance,
        "puLocationId" AS id
    FROM trips
),
accepted AS (
    SELECT (pickup_s - $starts_at) // 86400 + 1 AS day, id
    FROM read
    WHERE pickup_s >= $starts_at AND pickup_s < $ends_at
        AND dropoff_s - pickup_s BETWEEN 0 AND 6 * 3600
        AND money[1] BETWEEN 0 AND $cap AND money[2] BETWEEN 0 AND $cap AND money[3] <= $cap
        AND distance BETWEEN 0 AND 500 * 1000
),
-- Millions of rows have a few hundred different texts: each is judged once a day.
counted AS (
    SELECT day, trim(CAST(id AS VARCHAR), E' \t\r\n') AS zone_text, count(*) AS trips
    FROM accepted
    GROUP BY day, id
)
SELECT
    day,
    CASE
        WHEN regexp_full_match(zone_text, '[0-9]+') AND TRY_CAST(zone_text AS INTEGER) BETWEEN 1 AND 265
            THEN TRY_CAST(zone_text AS INTEGER)
        ELSE 0
    END AS zone,
    CAST(sum(trips) AS BIGINT) AS trips
FROM counted
GROUP BY day, zone
