"""What a strategy changed, on disk: safetensors and JSON, never pickle."""
