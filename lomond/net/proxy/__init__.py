"""Proxies: which one to use (`settings`), and a tunnel through it (`tunnel`, `socks`)."""
