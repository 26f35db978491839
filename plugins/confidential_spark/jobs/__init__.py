"""What is computed, from what, and when it is right."""
