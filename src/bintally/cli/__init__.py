"""The command line: one small file per verb; a verb imports its layer when it runs."""
