"""Ask for the fixtures whose names begin with lomond_."""

pytest_plugins = ['lomond.testing.fixtures']
