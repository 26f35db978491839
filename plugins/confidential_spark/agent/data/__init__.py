"""What the enclave reads and writes for a job: its input, its results."""
