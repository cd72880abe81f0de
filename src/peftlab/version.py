"""The version, on its own: what records it need not import what the package offers."""

__version__ = "0.2.0"
