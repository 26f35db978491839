"""Yellow-taxi trips as every job on them reads them."""
