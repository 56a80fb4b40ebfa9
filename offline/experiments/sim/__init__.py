"""Simulation: what people of several kinds like, how they react, and runs of them through the real handlers."""
