"""Experiments: searches and ablations, which execute runs."""
