"""Asks a legacy model and its successor the same: where the questions come from, and how all answers are kept."""
