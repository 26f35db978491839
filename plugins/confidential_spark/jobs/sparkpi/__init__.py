"""The job sparkpi."""
