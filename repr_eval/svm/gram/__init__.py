"""For few rows: the problem in the space of the rows, where only the Gram matrix of inner products matters."""
