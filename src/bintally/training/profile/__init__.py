"""Where a run's time goes, and what would make it faster: docs/profile.md has the phases and the advice."""
