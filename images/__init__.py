"""What the images are made of. Data to the orchestrator, which copies and runs it and never imports it."""
