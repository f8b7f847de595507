"""The commands behind `make`. Each is also callable by itself: `scripts/run NAME --help`."""
