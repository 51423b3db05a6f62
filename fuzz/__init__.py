"""Any bytes, to whatever reads what a peer sent: `make fuzz`.

The targets run on every Python, with nothing but what the tests have; only `run` needs atheris.
"""
