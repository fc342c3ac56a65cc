"""One dialect, or one form of an answer, in the words of another."""
