"""Trains the puppets' models from nothing: stages as plain functions around one resumable loop."""
