"""`python -m repr_eval` is `repr-eval`."""

from repr_eval.cli import main

if __name__ == "__main__":
    main(prog_name="repr-eval")
