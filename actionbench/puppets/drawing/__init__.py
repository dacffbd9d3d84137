"""The second drawn world: four-legged animals, a larger cast and more poses."""
