"""PEFT Lab: compare every way of tuning a transformer lightly, fairly and with statistics."""

__version__ = "0.2.0"
