"""Result checks that all jobs share."""
