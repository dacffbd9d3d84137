"""The commands of `actionbench labels`, one a file."""
