"""From a folder of photographs to a dataset, and from there to the Hub and back."""
