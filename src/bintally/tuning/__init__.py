"""Searches for a recipe's best settings: many short runs, their settings chosen by Optuna, poor ones ended early."""
