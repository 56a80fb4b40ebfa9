"""Prompts: a registry, and one file per version. A released version never changes; a better text is a new version."""
