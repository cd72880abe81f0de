"""Pretrained models: loading them, and where each architecture keeps its heads and layers."""
