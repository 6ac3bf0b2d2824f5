"""What keeps the repository in step with its records: shipping weights, renewing the tables in README."""
