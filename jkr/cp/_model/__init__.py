"""The CP model: its class, random ones, comparing them, and files."""
