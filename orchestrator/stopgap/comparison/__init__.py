"""Judging a legacy model's answers against its successor's. Nobody is asked anything here, and nothing is started."""
