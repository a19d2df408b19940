"""Advantages, policy loss and KL, as pure functions."""
