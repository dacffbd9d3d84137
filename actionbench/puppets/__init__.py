"""Puppets: drawn figures, the miniature suite that runs on a laptop, and the models made of them."""
