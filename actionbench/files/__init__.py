"""Files: atomic writing, hashing, the Hub, and where models are."""
