"""How far two batches of features are from one another, as terms of an objective."""
