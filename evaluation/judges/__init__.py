"""Judges: what an image shows, and how far a judge can be trusted."""
