"""Files: atomic writing, hashing, the Hub, and which model lies where."""
