"""What follows from how tasks end: another try, a page that helps, the next run of a fill."""
