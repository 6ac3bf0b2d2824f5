"""The control: a CNN trained on the labels alone."""
