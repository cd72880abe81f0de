"""Where a task's examples come from, each source in its own file; `splits.py` chooses among them."""
