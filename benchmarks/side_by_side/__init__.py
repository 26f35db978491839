"""`make bench`: what this project costs beside what one would run without it, as ratios of medians."""
