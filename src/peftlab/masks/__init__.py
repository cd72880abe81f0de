"""Which single weights are tuned: what they are chosen by, and how the choice is kept."""
