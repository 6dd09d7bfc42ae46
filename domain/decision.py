"""Who decided about a thing, where several may have wanted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decided:
    """`what`, in words. `update_id` names the Update that decided; it is empty when no person
    did."""

    what: str
    update_id: str

    @property
    def words(self) -> str:
        """As whoever wanted to decide too is told."""
        if not self.update_id:
            return self.what
        return f"{self.what}: another decision came before this one"


def recorded(decisions: Sequence[Mapping[str, Any]], *words: str) -> Decided | None:
    """The last of the decisions kept with a thing that is one of these words."""
    for each in reversed(decisions):
        if each["decision"] in words:
            return Decided(each["decision"], each.get("update", ""))
    return None
