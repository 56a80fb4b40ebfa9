"""Prompt benchmark: models and prompt versions on scenarios, judged by a rubric."""
