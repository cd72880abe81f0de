"""What a task is, which kind of task it is, and where its examples come from."""
