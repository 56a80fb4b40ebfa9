"""What the functions of the tip service share: contracts, features, bandit, prompts, state."""

__version__ = "0.1.0"
