"""What the moving weights are asked for: each file is one addend of the objective."""
