"""One file a kind of task; a file here is found by itself."""
