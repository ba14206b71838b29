"""Counting over HTTP, without torch."""
