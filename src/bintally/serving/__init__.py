"""Counting over HTTP and in a Lambda function, without torch."""
