"""A simulated population: what people of several kinds like to be shown, and how they react."""
