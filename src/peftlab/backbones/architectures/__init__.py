"""One file a family of architectures: `architecture.py` says what each tells of itself."""
