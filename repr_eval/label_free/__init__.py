"""Label-free measures of extracted features: measured, kept as lines of JSON, shown as tables.

A measurement is of training images alone. The test split is left for the protocols.
"""
