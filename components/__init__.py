"""The typed component resources of the platform: the only place where resources are made."""
