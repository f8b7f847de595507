"""What a preview would change, as Markdown for a pull request, and the guard against lost data.

The engine's JSON events are read in events.py, shown in markdown.py and checked in guard.py.
"""
