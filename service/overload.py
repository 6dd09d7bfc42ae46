"""Too much at a time."""


class Overloaded(Exception):
    """So much is under way that this is not even begun: nothing was done, come again in a moment.

    Not a `Rejected`: nothing is wrong with what was asked for.
    """
