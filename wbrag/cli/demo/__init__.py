"""The demo: the whole job on the embedded world, and what its page tells."""
