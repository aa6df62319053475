"""Inputs that no one should have to think of, and what a user sees of them."""
