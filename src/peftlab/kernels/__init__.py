"""What torch does slowly on a CPU, done fast; elsewhere torch's own."""
