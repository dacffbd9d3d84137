"""The report page: a board with every image behind it, and the page of a difference of two runs."""
