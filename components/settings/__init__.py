"""Every setting of a stack, with its type, its safe default and its documentation.

Plain settings become one frozen tree (schema.py); secret settings take a second road (secret.py) and never enter
pydantic, whose errors and dumps would show them. load.py reads both from the engine's configuration, messages.py says
what is wrong with them. What does not belong here: defaults that are a matter of one service's own configuration (see
its module).
"""
