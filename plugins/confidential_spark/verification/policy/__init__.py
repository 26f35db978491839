"""What is accepted: policies, pinned roots and the ledger of approvals."""
