"""Model cards: one per registered policy, made from its code, the registry and logs; committed, and checked for age."""
