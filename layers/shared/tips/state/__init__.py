"""The DynamoDB table: the only place that knows keys and item shapes."""
