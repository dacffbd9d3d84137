"""The commands of `actionbench runs`, one a file."""
