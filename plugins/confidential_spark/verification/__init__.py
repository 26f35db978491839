"""What an outsider installs: evidence in, PASS or FAIL out."""
