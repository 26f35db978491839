"""Who this enclave is: its quote and the service's token for it."""
