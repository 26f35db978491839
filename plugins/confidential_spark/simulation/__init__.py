"""Stands in for SGX hardware and Azure on a laptop, under its own root and issuer, and says so everywhere."""
