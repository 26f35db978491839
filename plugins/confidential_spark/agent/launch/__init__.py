"""What the host may ask of an enclave, and nothing else."""
