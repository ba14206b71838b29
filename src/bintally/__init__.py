"""Bintally counts the items in a photo of a warehouse bin and checks the count against the record."""

__version__ = "0.1.0"
