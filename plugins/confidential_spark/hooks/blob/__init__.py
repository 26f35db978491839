"""Azure Blob Storage as the pipeline sees it: what a month has there, and the right to read it."""
