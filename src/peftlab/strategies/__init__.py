"""Ways of tuning a backbone: one file a method, each fulfilling the contract in `contract.py`."""
