"""What two models are asked with, out of files: one reader a format, one case at a time."""
