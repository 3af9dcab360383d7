"""How good an adaptation is, without labels of the target, one criterion a file."""
