"""How steps are taken: each file is one optimizer with its own options."""
