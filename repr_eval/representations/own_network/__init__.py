"""Any network of the user's as a representation: code, files and packages that hold it, and what it is known by."""
