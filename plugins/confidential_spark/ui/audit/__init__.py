"""The page Audit: a range of months verified anew, and one bundle of it for an auditor."""
