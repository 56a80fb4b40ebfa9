"""Features: one definition, used when deciding and when evaluating offline."""
