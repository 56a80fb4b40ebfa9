"""Events into the table: what arrives, what it says, what it changes."""
