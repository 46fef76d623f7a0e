"""The monitor: one small process for each container that bubblewrap holds. It starts it, restarts it, and ends it.

Whatever is imported here every monitor has in memory: the standard library, and of that as little as will do.
"""
