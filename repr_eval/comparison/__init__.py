"""Whether one measurement is better than another: paired tests, ranks of methods. No torch."""
