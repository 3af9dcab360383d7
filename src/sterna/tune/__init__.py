"""Which weights move: each file is a policy, a list of phases."""
