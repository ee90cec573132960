"""Checks of an environment, a config and its data, one function each."""
