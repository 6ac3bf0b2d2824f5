"""What a generator and a discriminator have learned, as pictures and numbers with controls [paper, sections 4.1 and 6].

Each study is a module: functions that take `models.Models` and give arrays and numbers, and a `run` that writes them.
"""
