"""The command line: auditors install `verify` and `audit verify`, a checkout has the other commands too."""
