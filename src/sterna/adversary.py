"""Gradient reversal, and networks that tell domains apart."""
