"""Augmentations of training examples: each file is one addend of `--augment`."""
