"""What runs inside SageMaker's containers: its contract kept, and the very training that runs anywhere."""
