"""A month's input files, located and listed by digest."""
