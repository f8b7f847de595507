"""Stand-ins, images and the engine from source, for machines that reach package registries only."""
