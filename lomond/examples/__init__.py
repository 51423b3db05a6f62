"""Programs to run and to read: ``python -m lomond.examples`` lists them."""
