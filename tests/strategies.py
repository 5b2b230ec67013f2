"""Values for properties: layers, recipes, plans, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from atlas.plans import SHARD, STAGES, Identity, Made, Plan
from atlas.recipe import DTYPES, METRICS, VARIANTS, AtlasRecipe, Numerics, ProjectionRecipe, Recipe, Sampling
from atlas.stages import ACTIVATIONS
from atlas.units import Layer, Unit

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
"""Names of layers: any text at all."""

UNITS = st.builds(Unit, NAMES, st.integers(0, 10**6), st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True))

LAYERS = st.builds(
    Layer,
    name=NAMES,
    kind=st.sampled_from(["conv", "tokens", "linear"]),
    channels=st.integers(1, 300),
    size=st.one_of(st.just(()), st.tuples(st.integers(1, 64), st.integers(1, 64))),
    stride=st.floats(0, 64),
    flops=st.integers(0, 10**12),
    channels_last=st.booleans(),
    prefix=st.integers(0, 5),
)

RECIPES = st.builds(
    Recipe,
    name=st.text(max_size=10),
    size=st.integers(16, 512),
    steps=st.integers(1, 4096),
    variants=st.one_of(
        st.permutations([*VARIANTS, "neuron"]).flatmap(lambda order: st.integers(1, 3).map(lambda n: tuple(order[:n]))),
        st.permutations(["positive", "diverse-1", "diverse-2", "diverse-3"]).map(tuple),
    ),
    learning_rate=st.floats(0, 10),
    jitter=st.one_of(st.integers(0, 32), st.floats(0, 32)),
    scale=st.tuples(st.floats(0.1, 1), st.one_of(st.just(1), st.floats(1, 4))),
    jpeg_quality=st.integers(1, 100),
    seed=st.integers(-(2**40), 2**40),
    restarts=st.integers(1, 255),
    agreement=st.booleans(),
    diversity=st.floats(0, 10),
    lr_warmup_steps=st.integers(0, 100),
    lr_decay_fraction=st.floats(0, 1),
    cosine_power=st.one_of(st.just(0.0), st.integers(0, 8), st.floats(0, 8)),
    contrast=st.one_of(st.just(0.0), st.integers(0, 8), st.floats(0, 8)),
)

LAYOUTS = st.builds(
    ProjectionRecipe,
    name=st.text(max_size=10),
    n_neighbors=st.integers(2, 500),
    min_dist=st.one_of(st.integers(0, 1), st.floats(0, 1)),
    metric=st.sampled_from(METRICS),
    whiten=st.booleans(),
    pca=st.one_of(st.none(), st.integers(2, 4096)),
    max_samples=st.integers(2, 10**6),
    clip_percent=st.floats(0, 49),
    margin=st.floats(0, 10),
    seed=st.integers(-(2**40), 2**40),
)

SAMPLINGS = st.builds(
    Sampling,
    images=st.text("0123456789abcdef", min_size=64, max_size=64),
    count=st.integers(1, 5000),
    classes=st.sampled_from([0, 1, 10, 1000, 2001, 21841]),
    crops=st.integers(1, 32),
    seed=st.integers(-(2**40), 2**40),
    photographs=st.booleans(),
    positions=st.integers(1, 32),
    relaxed=st.booleans(),
)

ATLASES = st.builds(
    AtlasRecipe,
    SAMPLINGS,
    LAYOUTS,
    side=st.integers(1, 32).map(lambda tiles: 5 * tiles),
    below=st.integers(0, 5),
    whitening=st.one_of(st.just(1), st.floats(0, 1)),
)

NUMERICS = st.builds(
    Numerics,
    batch=st.integers(1, 64),
    threads=st.integers(1, 64),
    torch=st.just("2.10"),
    dtype=st.sampled_from(DTYPES),
)

IDENTITIES = st.builds(
    Identity,
    st.text(min_size=1, max_size=20),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.fixed_dictionaries({"size": st.lists(st.integers(16, 512), min_size=2, max_size=2)}),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans for some shards of a layer."""
    layer = draw(LAYERS)
    units = draw(st.lists(st.integers(0, layer.channels - 1), max_size=5))
    plan = Plan.of("features", draw(IDENTITIES), layer, draw(RECIPES), draw(NUMERICS), units)
    assert all(index * SHARD < layer.channels for index in plan.wanted)
    return plan


@st.composite
def atlas_plans(draw: st.DrawFn) -> Plan:
    """Plans of any stage of an atlas."""
    stage, atlas = (
        draw(st.sampled_from([ACTIVATIONS, *(stage for stage in STAGES.values() if stage.parts)])),
        draw(ATLASES),
    )
    made: dict[str, Made] = {"activations": atlas.sampling, "icons": draw(RECIPES)}
    recipe = made.get(stage.name, atlas)
    name = draw(st.sampled_from(["all", "winners-3", "strongest-207", "pair-1-2"]))
    part = (name, str(atlas.side))[: stage.parts]
    return Plan.of(stage.name, draw(IDENTITIES), draw(LAYERS), recipe, draw(NUMERICS), part=part)
