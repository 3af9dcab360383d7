"""How far two samples are from one another: each file is one distance."""
