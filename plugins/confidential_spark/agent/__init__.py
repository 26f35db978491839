"""What runs inside the enclave: the standard library and `cryptography`, at most 2,600 lines of code."""
