"""Judges, accuracies, statistics and pictures: what is said about the images of a run."""
