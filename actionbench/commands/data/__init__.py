"""The commands of `actionbench data`, one a file."""
