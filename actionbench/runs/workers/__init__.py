"""Executors: where a run's units of work are done, in this process or in others."""
