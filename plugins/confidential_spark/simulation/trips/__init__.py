"""Stands in for taxi trips: deterministic months with the true schema."""
