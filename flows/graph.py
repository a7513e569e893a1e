"""The edges of ``dvc.yaml``, as DVC itself reads them."""

import contextlib
from collections.abc import Iterator
from graphlib import TopologicalSorter

from dvc.exceptions import DvcException
from dvc.repo import Repo
from omegaconf.errors import OmegaConfBaseException

from lethe.errors import ConfigError

Graph = dict[str, list[str]]  # every stage with the stages it waits for, in an order that can be run


def stage_graph() -> Graph:
    """The graph of the repository in the working directory.

    Stages of one floor, which do not wait for each other, stand together in alphabetical order. Raises
    ConfigError when DVC cannot read ``dvc.yaml`` with the parameters as they are.
    """
    with dvc_errors(), Repo(".") as repo:
        edges = repo.index.graph  # an edge leads from a stage to one that it waits for
        upstream = {
            stage.addressing: sorted(needed.addressing for needed in edges.successors(stage)) for stage in edges
        }
    return {stage: upstream[stage] for stage in _order(upstream)}


def _order(upstream: Graph) -> Iterator[str]:
    sorter = TopologicalSorter(upstream)
    sorter.prepare()
    while sorter.is_active():
        floor = sorted(sorter.get_ready())
        yield from floor
        sorter.done(*floor)


@contextlib.contextmanager
def dvc_errors() -> Iterator[None]:
    """Turn an error of DVC and what caused it into one ConfigError line."""
    try:
        yield
    except (DvcException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from None
    except TypeError as error:  # DVC's own, when a parameter has not the shape that dvc.yaml expects
        raise ConfigError(f"dvc.yaml does not fit the parameters: {error}.") from None


def one_line(error: BaseException) -> str:
    """An error's message with the message of its cause, in one line."""
    messages = [" ".join(str(each).split()) for each in (error, error.__cause__) if each is not None]
    return ": ".join(filter(None, dict.fromkeys(messages)))
