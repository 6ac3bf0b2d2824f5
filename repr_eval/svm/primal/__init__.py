"""For many rows: Newton's method on the primal problem, in the space of the features."""
