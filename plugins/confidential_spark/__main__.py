"""`python -m confidential_spark`."""

from __future__ import annotations

import sys

from confidential_spark.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
