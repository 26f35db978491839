"""Published results as the pages read, verify and hand them out."""
