"""The commands of `actionbench judges`, one a file."""
