"""From a bucket to a table that can be trusted."""
