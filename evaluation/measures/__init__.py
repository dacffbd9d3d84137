"""Measures: accuracies, comparisons, orders and failures, from verdicts alone."""
