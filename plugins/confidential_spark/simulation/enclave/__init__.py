"""Stands in for Occlum and SGX: measures, runs and quotes in software."""
