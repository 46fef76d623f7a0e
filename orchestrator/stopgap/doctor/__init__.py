"""What keeps a machine from serving, and what mends it: one file a topic, each check a question to a `Machine`."""
