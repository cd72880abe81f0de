"""The modules that strategies put into a model."""
