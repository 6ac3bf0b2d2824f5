"""Whether files are still what was stored: every hash that repr-eval writes is made again."""
