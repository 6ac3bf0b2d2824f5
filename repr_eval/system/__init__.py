"""What every part of the package may use: files, threads, ranks, random streams. Imports none of the other parts."""
