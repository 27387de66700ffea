"""Results of a finished job in formats of other programs, made from its tables and streamed."""
