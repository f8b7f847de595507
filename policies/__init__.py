"""The NEXUS policy pack: what a stack must never declare. Rules live in `rules/`, one family a file."""
