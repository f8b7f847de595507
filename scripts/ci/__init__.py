"""What the workflows call, on any runner: everything between a preview and a forge. Needs no more than Python's own
library, but for what talks to the engine (plan.py, smoke.py)."""
