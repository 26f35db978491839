"""What `make bench` measures, each as a program of its own: `python -m benchmarks.programs.NAME`."""
