"""What this project was seeded with: Spark reads a month, counts it, and adds up once: `bare_count FOLDER`.

The seed had it in Java, and its command gave no `--class`; here it is PySpark, by plain spark-submit.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

if __name__ == "__main__":
    spark = SparkSession.builder.appName("bare count").getOrCreate()
    trips = spark.read.parquet(sys.argv[1])
    print("Input DataFrame Count:", trips.count())
    trips.groupBy("puLocationId").agg(F.count("*"), F.sum("totalAmount")).collect()
    spark.stop()
