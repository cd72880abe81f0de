"""A run's delta in the formats of other libraries."""
