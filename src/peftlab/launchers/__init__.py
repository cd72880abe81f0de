"""Hydra launchers that carry the runs of a sweep to other machines: one file an engine."""
