"""Submissions: rows that others measured, in a folder that a check can verify without trust."""
