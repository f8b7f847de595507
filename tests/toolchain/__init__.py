"""The scripts that get the engine, against fake executables and a server on loopback: no network, no real build."""
