"""Whether a cluster can run enclaves."""
