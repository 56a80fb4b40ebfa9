"""What runs on a schedule: training from exports, and the profile features in batch."""
