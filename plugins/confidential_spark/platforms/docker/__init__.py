"""Enclaves in containers of a Docker engine."""
