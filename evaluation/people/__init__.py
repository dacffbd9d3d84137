"""People as judges: which images to ask about, their labels, and what follows from them."""
