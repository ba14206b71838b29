"""Rules that watch a run: what was seen (`seen`), what is wrong with it (one file for each family), and the watch."""
