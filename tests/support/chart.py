"""The Helm chart: its files as they are, and what helm makes of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Hashable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "durable-billing"
ENVIRONMENTS = ("dev", "staging", "prod")
RELEASE = "billing"
OLDEST, NEWEST = "1.30.0", "1.37.0"
"""Of Kubernetes: what the chart asks for, and the last whose schemas are known here."""

Document = dict[str, Any]


def tool(name: str) -> str | None:
    """Where `make test-chart` puts it, or anywhere on the PATH."""
    ours = Path(sys.executable).parent
    return shutil.which(name, path=f"{ours}:{os.environ.get('PATH', '')}")


class _Strict(yaml.SafeLoader):
    """Refuses a key that is said twice: the first one would be forgotten."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"{node.start_mark}: a key is said twice"
        return super().construct_mapping(node, deep)


def values(environment: str | None = None) -> Document:
    """As helm has them: those of an environment over those of the chart."""
    common: Document = _read(CHART / "values.yaml")
    if environment is None:
        return common
    return _over(common, _read(CHART / f"values-{environment}.yaml"))


def _read(path: Path) -> Document:
    found: Document = yaml.load(path.read_text(), _Strict)
    return found


def _over(below: Document, above: Document) -> Document:
    both = {
        name: _over(below[name], above[name])
        for name in below.keys() & above.keys()
        if isinstance(below[name], dict)
    }
    return {**below, **above, **both}


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    found = tool("helm")
    assert found is not None
    return subprocess.run([found, *arguments], cwd=CHART, capture_output=True, text=True)


@cache
def rendered_text(environment: str, *more: str) -> str:
    told = ("-f", f"values-{environment}.yaml", "--kube-version", NEWEST)
    ran = helm("template", RELEASE, ".", *told, *more)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def rendered(environment: str, *more: str) -> list[Document]:
    return [each for each in yaml.load_all(rendered_text(environment, *more), _Strict) if each]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [each for each in documents if each["kind"] in kinds]


def component(document: Document) -> str:
    name: str = document["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


RUNNING = ("Deployment", "WorkerDeployment")


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Each pod template, by its component."""
    for each in of_kind(documents, *RUNNING, "Job"):
        template = each["spec"]["template"]
        yield component(template), template


def environment_of(pod: Document) -> dict[str, str]:
    [container] = pod["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}
