"""How a command says no."""


class Refused(Exception):
    """A command that cannot do what it was asked for; the text is one sentence for a person."""
