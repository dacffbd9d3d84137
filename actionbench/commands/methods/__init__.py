"""The commands of `actionbench methods`, one a file."""
