"""The front: one Envoy before all models of an address; its files, and what its admin page tells."""
