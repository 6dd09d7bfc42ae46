"""What a workflow knows about the Update that it is handling."""

from temporalio import workflow


def update_id() -> str:
    """Of the Update that is being handled: kept with what it decided, it tells who decided."""
    info = workflow.current_update_info()
    assert info is not None, "no Update is being handled"
    return info.id
