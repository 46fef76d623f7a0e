"""Whole comparisons, from sandboxes to verdicts, held against a table that was written before."""
