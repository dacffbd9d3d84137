"""Pages: HTML files that stand alone, request nothing, and take every name as mere text."""
