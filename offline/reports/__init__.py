"""Pages for people and schedules: what happened, and whether what was learned still holds."""
