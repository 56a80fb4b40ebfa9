"""The long-running program between NATS JetStream and the function `consume`: `python -m bridge`."""
