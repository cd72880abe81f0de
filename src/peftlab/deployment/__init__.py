"""What a run's delta costs once it is deployed (Table 1 of arXiv 2305.04573), measured."""
