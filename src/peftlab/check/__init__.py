"""What the house asks of a strategy, a kind of task and a family of architectures: promises that a command checks."""
