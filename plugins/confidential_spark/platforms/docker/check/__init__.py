"""Whether a Docker engine and its host can run enclaves."""
