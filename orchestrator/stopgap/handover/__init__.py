"""The hand-over itself: from a legacy model to its candidate, step by step, and back."""
