"""Published years: verified by the code of `confidential-spark year verify`, and compared with the months."""
