"""The labelling page, served to a rater or mailed as one file."""
