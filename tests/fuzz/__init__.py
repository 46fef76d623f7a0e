"""Fuzzing of every seam that reads somebody else's bytes: bounded in `make test`, for long in `make fuzz`."""
