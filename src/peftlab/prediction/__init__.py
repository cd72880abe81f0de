"""What a finished run says of examples that it has not seen: from Python, and from files."""
