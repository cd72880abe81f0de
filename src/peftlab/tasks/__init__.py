"""What a task is: its columns, labels and metrics, and where its examples come from."""
