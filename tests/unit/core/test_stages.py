"""Which steps share a pod: a table of what lets them and what keeps them from it."""

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline

OUT = [{"name": "n"}]
KEY, OTHER = [{"name": "x"}], [{"name": "y"}]
LAKE, WAREHOUSE = "$(targets.lake.path)", "$(targets.warehouse.url)"
MORE = {"requests": {"memory": "4Gi"}}


def volume(**source: Any) -> dict[str, Any]:
    """A podTemplate that mounts one volume."""
    return {"volumes": [{"name": "v", **source}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}


SCRATCH = {"podTemplate": volume(emptyDir={})}
CLAIM = {"podTemplate": volume(claim={"name": "models"})}


def shared(pipeline: PipelineBuilder) -> list[str]:
    return ["".join(stage) for stage in pipeline.revision().shared]


def chain(*names: str, fuse: str | None = None, **of: dict[str, Any]) -> PipelineBuilder:
    """Steps that each need the one before; fields of single steps by name."""
    built = a_pipeline().having(secrets=[{"name": name, "vault": {"path": f"secret/data/{name}"}} for name in "xy"])
    built.having(fuse=fuse)
    for index, name in enumerate(names):
        fields = {"needs": [names[index - 1]] if index else []} | of.get(name, {})
        built.step(name, **fields)
    return built


@pytest.mark.parametrize(
    ("pipeline", "stages"),
    [
        pytest.param(chain(*"abc"), ["abc"], id="a chain is one stage"),
        pytest.param(chain(*"abc", fuse="Auto"), ["abc"], id="spelt out"),
        pytest.param(chain(*"abc", fuse="Never"), [], id="not where it is refused"),
        pytest.param(chain(*"abc", b={"fuse": "Never"}), [], id="a step that keeps to itself ends two stages"),
        pytest.param(chain(*"abcd", b={"fuse": "Never"}), ["cd"], id="and another begins behind it"),
        pytest.param(chain(*"abc", fuse="Never", a={"fuse": "Auto"}, b={"fuse": "Auto"}), ["ab"], id="step by step"),
        pytest.param(chain(*"abcd", b={"outputs": OUT}), ["ab", "cd"], id="declared outputs end a stage"),
        pytest.param(
            chain(*"abcdefgh"), ["abc", "def", "gh"], id="three are the most, so that each result has its 4 KiB"
        ),
        pytest.param(chain(*"abc", b={"when": "true"}), [], id="a condition stands between"),
        pytest.param(chain(*"abc", b={"forEach": {"items": [1]}}), [], id="a fan-out stands between"),
        pytest.param(chain(*"ab").step("c", image=None, command=None, needs=["b"], approval={}), ["ab"], id="a person"),
        pytest.param(chain(*"abc", c={"results": "Endpoint", "outputs": OUT}), ["ab"], id="results of its own way"),
        pytest.param(chain(*"abc", c={"needs": ["a"]}), [], id="a fork"),
        pytest.param(chain(*"abc", c={"needs": ["a", "b"]}), [], id="a step that needs two"),
        pytest.param(chain(*"ab", b={"needs": [], "after": [{"step": "a", "on": "Completed"}]}), [], id="any end"),
        pytest.param(chain(*"ab", b={"needs": [], "after": [{"step": "a", "on": "Succeeded"}]}), ["ab"], id="success"),
        pytest.param(chain(*"ab", b={"needs": [], "after": [{"step": "a", "on": "Failed"}]}), [], id="a failure"),
        pytest.param(chain(*"abc", c={"podTemplate": {"nodeSelector": {"gpu": "yes"}}}), ["ab"], id="another node"),
        pytest.param(chain(*"abc", c={"resources": MORE}), ["ab"], id="more memory: the pod would be as large for all"),
        pytest.param(
            chain(*"abc", c={"resources": MORE}).having(defaults={"resources": MORE}),
            ["abc"],
            id="as much as all have by default",
        ),
        pytest.param(chain(*"abc", c={"workspace": "None"}), ["abc"], id="no workspace that one could be without"),
        pytest.param(
            chain(*"abc", c={"workspace": "None"}).having(workspace={"size": "1Gi"}), ["ab"], id="without the workspace"
        ),
        pytest.param(
            chain(*"abc", a={"workspace": "Mount"}).having(workspace={"size": "1Gi"}), ["abc"], id="with it, spelt out"
        ),
        pytest.param(chain(*"abc", a=CLAIM, b=CLAIM, c=CLAIM), ["abc"], id="the same claim in all"),
        pytest.param(chain(*"abc", a=SCRATCH, b=SCRATCH), [], id="a volume that begins empty"),
        pytest.param(
            chain(*"ab").having(defaults={"podTemplate": SCRATCH["podTemplate"] | {"volumeMounts": []}}),
            ["ab"],
            id="one that nobody mounts",
        ),
        pytest.param(chain(*"abcd", c={"secrets": KEY}), ["ab"], id="secrets in one: held no longer than it needs"),
        pytest.param(chain(*"abcd", b={"secrets": KEY}, c={"secrets": KEY}), ["bc"], id="the same secrets in both"),
        pytest.param(chain(*"ab", a={"secrets": KEY}, b={"secrets": OTHER}), [], id="other secrets"),
        pytest.param(
            chain(*"ab", a={"secrets": KEY}, b={"secrets": [{"name": "x", "env": [{"name": "X", "key": "k"}]}]}),
            ["ab"],
            id="the same as a file and as a variable",
        ),
        pytest.param(chain(*"abc", b={"args": [LAKE]}, c={"args": [LAKE, "--deep"]}), ["bc"], id="the same target"),
        pytest.param(chain(*"ab", a={"args": [LAKE]}, b={"args": [LAKE, WAREHOUSE]}), [], id="one more target"),
        pytest.param(
            chain(*"ab", a={"image": None}).having(defaults={"image": f"img:{WAREHOUSE}"}), [], id="one by its image"
        ),
        pytest.param(
            chain(*"abc", a={"retry": {"limit": 3}}, b={"timeout": "1m"}, c={"startTimeout": "1m", "image": "other"}),
            ["abc"],
            id="retries, times and images are each step's own",
        ),
        pytest.param(chain(*"ab", b={"cache": {"maxAge": "1h"}, "image": f"i@sha256:{'a' * 64}"}), [], id="a cache"),
        pytest.param(chain(*"ab").having(**{"finally": [{"name": "z", "image": "i"}]}), ["ab"], id="not with finally"),
        pytest.param(
            chain("a").having(
                **{"finally": [{"name": "y", "image": "i"}, {"name": "z", "image": "i", "needs": ["y"]}]}
            ),
            [],
            id="nor within it: those run whatever the others do",
        ),
    ],
)
def test_steps_share_a_pod(pipeline: PipelineBuilder, stages: list[str]) -> None:
    assert shared(pipeline) == stages


def test_whatever_step_it_begins_with_a_job_runs_the_rest_of_the_stage() -> None:
    revision = chain(*"abc").revision()
    assert [[step.name for step in revision.stage(name)] for name in "abc"] == [["a", "b", "c"], ["b", "c"], ["c"]]
    plain = chain(*"abc", fuse="Never").revision()
    assert [[step.name for step in plain.stage(name)] for name in "abc"] == [["a"], ["b"], ["c"]]
