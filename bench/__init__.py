"""What the laboratory takes, side by side with its rivals: `make bench`, or one by one, `python -m bench.steps`."""
