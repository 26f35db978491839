"""What runs inside the enclave: the standard library and `cryptography`, small enough to audit in an hour."""
