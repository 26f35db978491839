"""The Kubernetes API as this project asks it: patiently, and with names for its failures."""
