"""What a modality does, each in its own file: rows become examples, and examples a batch."""
