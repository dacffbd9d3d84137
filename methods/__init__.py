"""The systems that the benchmark compares, one file each."""
