"""Proxies: which one to use, and a tunnel through it."""
