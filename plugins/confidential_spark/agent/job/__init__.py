"""A job in three steps, each a process of its own: its query, Spark, its finish."""
