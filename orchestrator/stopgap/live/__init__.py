"""The live page: all of a state folder at a glance, for as long as somebody wants to look."""
