"""Photographs: from a folder of them to a dataset, and from there to the Hub and back."""
