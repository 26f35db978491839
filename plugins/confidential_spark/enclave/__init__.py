"""What is true of an enclave image on every platform."""
