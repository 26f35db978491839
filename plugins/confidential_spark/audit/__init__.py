"""A range of months in one file for an auditor: its format, and the verification of all of it.

An auditor installs this with the verifier, on which it is at most 800 lines of code; `making` stays with the
deployment. Every verdict about a month is `verification.verify_evidence`'s; this room only adds refusals.
"""
