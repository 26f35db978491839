"""A year added up from its twelve verified months, bound to them by a statement that anybody can check."""
