"""Where enclaves run: one wing per platform."""
