"""The same jobs on SageMaker: requests built by pure functions, sent by boto3."""
