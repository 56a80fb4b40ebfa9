"""The contextual bandit: statistics, posteriors, policies, rewards."""
