"""Stands in for Intel: the development root, its certificates and keys."""
