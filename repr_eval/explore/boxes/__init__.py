"""Boxes around an object in samples: the file that holds them, and the page on which people draw them."""
