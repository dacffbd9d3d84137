"""The commands of `actionbench puppets`, one a file."""
