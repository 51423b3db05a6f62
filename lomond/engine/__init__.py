"""One connection's life, driven from outside, step by step; no step waits."""
