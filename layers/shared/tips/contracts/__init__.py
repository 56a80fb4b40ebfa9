"""pydantic models of the HTTP bodies and of the events: what callers may rely on."""
