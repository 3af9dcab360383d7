"""Scores of how well a candidate's features suit the labels, without training it: one file a score."""
