"""A whole fit: where it starts, the loop, how it ended, what users call, and its derivatives."""
