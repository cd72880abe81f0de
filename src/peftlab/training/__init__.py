"""Training: the LightningModule, optimiser and schedule, callbacks."""
