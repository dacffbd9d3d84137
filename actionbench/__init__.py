"""ActionBench: the benchmark for action customization of text-to-image models."""
