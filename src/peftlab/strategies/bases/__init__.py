"""What methods of one kind share: they derive from these, and these fulfil most of the contract."""
