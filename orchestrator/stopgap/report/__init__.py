"""A comparison as a page for people: one HTML file that needs nothing else, drawn from a `comparison.document`."""
