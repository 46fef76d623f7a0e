"""The observer: takes a sample of a model's requests, asks two models, judges, keeps what it found. No user waits."""
