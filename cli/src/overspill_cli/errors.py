"""What goes wrong for a reason that the person at the keyboard can mend."""


class CommandError(Exception):
    """Ends the command with its message; says what was wrong, where, and what mends it."""
