"""The base model that methods customize, and the loops that fits share."""
