"""Make a checkpoint."""
