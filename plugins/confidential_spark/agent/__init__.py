"""What runs inside the enclave: the standard library and `cryptography`, at most 3,140 lines of code."""
