"""The commands of `actionbench suites`, one a file."""
