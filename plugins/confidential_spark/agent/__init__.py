"""What runs inside the enclave: the standard library and `cryptography`, at most 3,020 lines of code."""
