"""What the figures in README come from: results/ holds the records; each module here is one command."""
