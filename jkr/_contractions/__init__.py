"""Contractions: what uses a Khatri–Rao product without ever forming it."""
