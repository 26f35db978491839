"""What follows when a task ends: another try, or the way to a page that helps."""
