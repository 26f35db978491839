"""What a deployment keeps no longer, and how it is removed."""
