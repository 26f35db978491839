"""The control room: every month of every job and platform, what needs somebody, and what happens now."""
