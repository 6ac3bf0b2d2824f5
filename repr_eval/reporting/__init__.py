"""Tables and figures, rebuilt from records and the paper's rows alone. Nothing here imports torch."""
