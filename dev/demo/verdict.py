"""How a step says that something is not as it must be."""


class Unexpected(Exception):
    """What was expected, and what came instead: the demo ends with this sentence."""


def expect(what: str, came: object, expected: object) -> None:
    """Raise `Unexpected` unless both are equal."""
    if came != expected:
        raise Unexpected(f"{what}: expected {expected!r}, but {came!r} came")
