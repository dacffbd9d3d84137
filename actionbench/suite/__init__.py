"""Suites: actions, subjects, exemplars, and the formats that hold them."""
