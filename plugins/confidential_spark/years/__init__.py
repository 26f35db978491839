"""A year is the sum of twelve months that verify: its statement, and the verification of all of it.

An auditor installs this and its command with the verifier, on which they are at most 680 lines of code. Which
jobs have years is declared in `sums`; `jobs.rollup` makes them.
"""
