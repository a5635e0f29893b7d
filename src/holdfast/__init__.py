"""Holdfast: a ticket booking engine that sells every place exactly once."""

__version__ = "0.1.0"
