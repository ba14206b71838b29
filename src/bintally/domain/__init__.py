"""What a bin, a count and a verdict are: numpy only, no files, no network, no torch."""
