"""From a task to batches: few-shot splits, the order of examples, the LightningDataModule."""
