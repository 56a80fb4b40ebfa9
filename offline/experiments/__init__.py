"""Experiments: simulation through the real handlers, off-policy evaluation, comparison of prompts."""
