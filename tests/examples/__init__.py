"""The programs of `examples/`, each run with the real program that is its other end."""
