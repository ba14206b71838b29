"""From pixels to a distribution over counts."""
