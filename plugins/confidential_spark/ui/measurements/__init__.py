"""Measurements: the ledger of approvals, which enclave each platform runs, and what waits for a decision."""
