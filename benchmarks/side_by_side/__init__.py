"""`make bench`: what this project costs beside what one would run without it, in turn, as ratios of medians."""
