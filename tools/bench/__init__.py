"""What NEXUS costs, measured beside what it could cost at least: the rooms behind `scripts/run bench`."""
