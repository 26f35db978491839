"""What one Parquet file says of itself, read without its rows."""
