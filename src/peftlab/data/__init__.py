"""From a task to batches: few-shot splits, tokenising with a cache on disk, batching, the LightningDataModule."""
