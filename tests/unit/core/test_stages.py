"""Which steps share a pod: a table of what lets them and what keeps them from it."""

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline

OUT = [{"name": "n"}]
KEY = [{"name": "x"}]


def shared(pipeline: PipelineBuilder) -> list[str]:
    return ["".join(stage) for stage in pipeline.revision().shared]


def chain(*names: str, fuse: str | None = "Auto", **of: dict[str, Any]) -> PipelineBuilder:
    """Steps that each need the one before; fields of single steps by name."""
    built = a_pipeline().having(secrets=[{"name": "x", "vault": {"path": "secret/data/x"}}])
    built = built.having(fuse=fuse) if fuse else built
    for index, name in enumerate(names):
        fields = {"needs": [names[index - 1]] if index else []} | of.get(name, {})
        built.step(name, **fields)
    return built


@pytest.mark.parametrize(
    ("pipeline", "stages"),
    [
        pytest.param(chain(*"abc"), ["abc"], id="a chain is one stage"),
        pytest.param(chain(*"abc", fuse=None), [], id="only where it is asked for"),
        pytest.param(chain(*"abc", fuse="Never"), [], id="not where it is refused"),
        pytest.param(chain(*"abc", b={"fuse": "Never"}), [], id="a step that keeps to itself ends two stages"),
        pytest.param(chain(*"abcd", b={"fuse": "Never"}), ["cd"], id="and another begins behind it"),
        pytest.param(chain(*"abc", fuse=None, a={"fuse": "Auto"}, b={"fuse": "Auto"}), ["ab"], id="step by step"),
        pytest.param(chain(*"abcd", b={"outputs": OUT}), ["ab", "cd"], id="declared outputs end a stage"),
        pytest.param(chain(*"abcd", d={"outputs": OUT}), ["abc"], id="and leave room for three alone"),
        pytest.param(chain(*"abc", c={"outputs": OUT}, a={"secrets": KEY}), ["ab"], id="for two with secrets"),
        pytest.param(chain(*"abcdefghij"), ["abcdefgh", "ij"], id="eight are the most"),
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
    plain = chain(*"abc", fuse=None).revision()
    assert [[step.name for step in plain.stage(name)] for name in "abc"] == [["a"], ["b"], ["c"]]
