"""Engines start containers: one Protocol, one file for each engine."""
