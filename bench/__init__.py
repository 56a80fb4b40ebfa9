"""Measurements of the product against its peers: `make bench`. Never deployed, and no part of the layer."""
