"""The library's front door to building: what `atlas build`, `atlas plan` and `atlas submit` do, from Python.

build(model, store, images=..., layers=...) -> Catalogue
retry(store)                                -> Catalogue, with its holes filled
plan(model, store, images=..., layers=...)  -> BuildPlan, printable and priced
submit(model, store, ..., address=...)      -> Submission, on a cluster
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from atlas.catalogue import Catalogue
from atlas.engine.catalogue import make, planned
from atlas.engine.planning.build_plan import BuildPlan
from atlas.engine.planning.prepared import PreparedBuild
from atlas.engine.planning.recorded import resolved
from atlas.engine.record import Report
from atlas.errors import BuildFailed
from atlas.pipeline import Pipeline, option
from atlas.store import Store

if TYPE_CHECKING:
    from atlas.engine.jobs import Submission

P = ParamSpec("P")
T = TypeVar("T")


def _told(signature: inspect.Signature) -> str:
    """The options of a pipeline, as a docstring has them."""
    return "\n".join(f"        {name}: {option(name).help}" for name in signature.parameters)


def _takes(options: Callable[P, Pipeline]) -> Callable[[Callable[[Pipeline], T]], Callable[P, T]]:
    """Makes a function of a pipeline one that takes the options of a pipeline, as declared there."""

    def decorate(function: Callable[[Pipeline], T]) -> Callable[P, T]:
        signature = inspect.signature(options)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return function(resolved(signature.bind(*args, **kwargs).arguments))

        call.__doc__ = f"{function.__doc__}\n    Args:\n{_told(signature)}\n"
        call.__signature__ = signature.replace(return_annotation=inspect.signature(function).return_annotation)  # type: ignore[attr-defined]
        return call

    return decorate


@_takes(Pipeline)
def build(pipeline: Pipeline) -> Catalogue:
    """Build a store, or go on with one that is there, and open it.

    `model` is a spec, a `Model` of `load_model`, any `torch.nn.Module` (with `preprocessing` and `store`), a pipeline
    file (`resnet50.yaml`) or a store whose build to resume; other arguments override the file. Progress is shown
    on standard error. Raises `AtlasError` for invalid arguments, before anything is written,
    and `BuildFailed` where shards failed; what is finished is kept, and the same call tries the others again.
    """
    return _opened(*make(pipeline))


@_takes(Pipeline)
def retry(pipeline: Pipeline) -> Catalogue:
    """Retry the units of a store that could not be made. `model` is the store.

    It also does all that `build` would do, and takes the same arguments. Raises `BuildFailed` where a unit fails again.
    """
    return _opened(*make(pipeline, retry=True))


def _opened(ready: PreparedBuild, report: Report) -> Catalogue:
    if report.failed:
        raise BuildFailed(f"{report.verdict(ready.place)} The first: {report.failed[0]}")
    return Catalogue(Store.open(ready.place))


def submit(*pipeline: Any, address: str, **options: Any) -> Submission | None:
    """Build a store as `build` does, as a job on the Ray cluster that takes jobs at `address` (http://HOST:8265).

    What lies in the current folder travels with the job: a model of yours (`package.module:factory`), labels, small
    files. The same call attaches to the job while it is alive, and submits the next attempt where it failed. Gives the
    `Submission`, which can be followed, asked for its `status` and stopped; None where an earlier job succeeded and the
    store is whole. Raises `AtlasError` where nobody takes jobs at `address`, and for what no job can do: a network in
    memory, a store in a relative folder.
    """
    from atlas.engine.jobs import submitted
    from atlas.engine.submitting import parcel

    return submitted(parcel(resolved(TAKEN.bind(*pipeline, **options).arguments)), address)


TAKEN = inspect.signature(Pipeline)
_ADDRESS = inspect.Parameter("address", inspect.Parameter.KEYWORD_ONLY, annotation="str")
submit.__signature__ = TAKEN.replace(  # type: ignore[attr-defined]
    parameters=[*TAKEN.parameters.values(), _ADDRESS], return_annotation="Submission | None"
)
submit.__doc__ = f"{submit.__doc__}\n    Args:\n{_told(TAKEN)}\n        address: Where the cluster takes jobs.\n"


@_takes(Pipeline)
def plan(pipeline: Pipeline) -> BuildPlan:
    """What `build` would do with the same arguments: units, pictures, images, and what they cost.

    It is planned for the cluster that `ray` or RAY_ADDRESS names, where one is named. Nothing is written. `print` shows
    it; `pictures`, `flops` and `bytes` are its sums.
    """
    return planned(pipeline)[1]
