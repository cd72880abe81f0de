"""Figures of what HiFi leaves beside its records: the selections of attention heads."""
