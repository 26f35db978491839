"""A month's input files: located, held against the job's contract, listed by digest."""
