"""Runs, registered models, what is published to the table, and model cards."""
