"""What training runs were, kept in MLflow; which model is the champion, and why."""
