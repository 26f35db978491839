"""What a page shows, shaped for its template."""
