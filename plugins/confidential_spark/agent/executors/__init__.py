"""Several enclaves in one run: how they judge each other and share the Spark secret."""
