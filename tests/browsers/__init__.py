"""Pages of the examples in real browsers, without a screen."""
