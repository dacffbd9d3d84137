"""Puppets: drawn figures, the suite that runs on a laptop, and the models made of them."""
