"""What a user may set: the one reader of dataclasses, and the one list of what each option changes."""
