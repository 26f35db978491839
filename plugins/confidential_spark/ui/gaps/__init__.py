"""Filling gaps: which months are missing, one run for each, how far they are, and how to stop them."""
