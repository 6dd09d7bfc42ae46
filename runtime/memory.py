"""What the garbage collector need not look at."""

import gc


def freeze() -> None:
    """What a process has when it is ready, modules above all, it has to its end: the collector need
    not look through it again and again."""
    gc.collect()
    gc.freeze()
