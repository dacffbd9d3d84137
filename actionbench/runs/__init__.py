"""Runs: options, plan, execution, judging, the record and the store."""
