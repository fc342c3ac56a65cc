"""That a document names what can't be used: raised where it is built, told where documents come from."""


class UnusableError(Exception):
    """The message says which part of the document, why, and nothing secret."""
