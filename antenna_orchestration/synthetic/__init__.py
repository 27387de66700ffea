"""Draws photographs of light traps with insects whose places are known, for the demo, the tests and training."""
