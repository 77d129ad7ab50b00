import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.core.problems import SHOWN, Problem, summarise
from dataops_operator.core.validate import parse

Case = tuple[PipelineBuilder, str, str, PipelineBuilder]


def with_parameter(type_: str = "String", **fields: Any) -> PipelineBuilder:
    return a_pipeline().step("a").parameter("p", type_, **fields)


def two(**fields: Any) -> PipelineBuilder:
    """Step `land` with an output `rows`, and step `b`."""
    return a_pipeline().parameter("day").step("land", outputs=[{"name": "rows"}]).step("b", **fields)


def one(**fields: Any) -> PipelineBuilder:
    return a_pipeline().step("a", **fields)


def keyed(type_: str) -> PipelineBuilder:
    return with_parameter(type_).having(concurrency={"limit": 1, "key": "$(params.p.x)"})


WRONG: dict[str, Case] = {
    "a name twice among the steps": (
        a_pipeline().step("a").step("b").step("a"),
        "spec.steps[2].name",
        "the name 'a' is there already",
        a_pipeline().step("a").step("b").step("c"),
    ),
    "a name twice among the parameters": (
        with_parameter().parameter("p"),
        "spec.parameters[1].name",
        "the name 'p' is there already",
        with_parameter().parameter("q"),
    ),
    "a name twice among the outputs": (
        one(outputs=[{"name": "n"}, {"name": "n"}]),
        "spec.steps[0].outputs[1].name",
        "the name 'n' is there already",
        one(outputs=[{"name": "n"}, {"name": "m"}]),
    ),
    "a name twice among the variables": (
        one(env=[{"name": "N"}, {"name": "N"}]),
        "spec.steps[0].env[1].name",
        "the name 'N' is there already",
        one(env=[{"name": "N"}, {"name": "n"}]),
    ),
    "two parameters with one variable": (
        with_parameter().parameter("P"),
        "spec.parameters[1].name",
        "'P' and 'p' would share the variable DATAOPS_PARAM_P; rename one",
        with_parameter().parameter("p_"),
    ),
    "a required parameter with a default": (
        with_parameter(required=True, default="x"),
        "spec.parameters[0].default",
        "a required parameter has no default",
        with_parameter(required=True),
    ),
    "a lower bound of a text": (
        with_parameter(minimum=1),
        "spec.parameters[0].minimum",
        "minimum is for the types Integer and Number",
        with_parameter("Number", minimum=1),
    ),
    "an upper bound of a date": (
        with_parameter("Date", maximum=1),
        "spec.parameters[0].maximum",
        "maximum is for the types Integer and Number",
        with_parameter("Integer", maximum=1),
    ),
    "a bound that is no number": (
        with_parameter("Number", minimum="low"),
        "spec.parameters[0].minimum",
        "'low' is not a number",
        with_parameter("Number", minimum="0.5"),
    ),
    "a bound without end": (
        with_parameter("Number", maximum="Infinity"),
        "spec.parameters[0].maximum",
        "'Infinity' is not a number",
        with_parameter("Number", maximum="1e9"),
    ),
    "bounds the wrong way round": (
        with_parameter("Number", minimum="0.5", maximum="0.25"),
        "spec.parameters[0].minimum",
        "minimum 0.5 is greater than maximum 0.25",
        with_parameter("Number", minimum="0.25", maximum="0.25"),
    ),
    "a pattern of a number": (
        with_parameter("Integer", pattern="[0-9]"),
        "spec.parameters[0].pattern",
        "pattern is for the type String",
        with_parameter(pattern="[0-9]"),
    ),
    "a pattern that is none": (
        with_parameter(pattern="(a"),
        "spec.parameters[0].pattern",
        "not a regular expression of RE2's syntax: missing )",
        with_parameter(pattern="(a)"),
    ),
    "a pattern that only other engines know": (
        with_parameter(pattern="(?=a)b"),
        "spec.parameters[0].pattern",
        "not a regular expression of RE2's syntax",
        with_parameter(pattern="(?:a)b"),
    ),
    "a default of another type": (
        with_parameter("Integer", default="many"),
        "spec.parameters[0].default",
        '"many" is not a whole number',
        with_parameter("Integer", default="5"),
    ),
    "a default outside its bounds": (
        with_parameter("Integer", default=17, maximum=16),
        "spec.parameters[0].default",
        "17 is greater than 16",
        with_parameter("Integer", default=16, maximum=16),
    ),
    "a default that is not in the enum": (
        with_parameter(default="c", enum=["a", "b"]),
        "spec.parameters[0].default",
        '"c" is not one of "a", "b"',
        with_parameter(default="b", enum=["a", "b"]),
    ),
    "a default with an unknown template": (
        with_parameter(default="$(run.date)"),
        "spec.parameters[0].default",
        "known here are $(run.name), $(run.uid) and $(run.logicalDate)",
        with_parameter(default="$(run.logicalDate)"),
    ),
    "a default that uses another parameter": (
        with_parameter(default="$(params.q)"),
        "spec.parameters[0].default",
        "$(params.q): no such name",
        with_parameter(default="$$(params.q)"),
    ),
    "a date made of a name": (
        with_parameter("Date", default="$(run.name)"),
        "spec.parameters[0].default",
        "is not a date",
        with_parameter("Date", default="$(run.logicalDate)"),
    ),
    "a member of an enum of another type": (
        with_parameter("Integer", enum=[1, "x"]),
        "spec.parameters[0].enum[1]",
        '"x" is not a whole number',
        with_parameter("Integer", enum=[1, "2"]),
    ),
    "a member of an enum outside the bounds": (
        with_parameter("Integer", enum=[1, 9], maximum=5),
        "spec.parameters[0].enum[1]",
        "9 is greater than 5",
        with_parameter("Integer", enum=[1, 5], maximum=5),
    ),
    "a workspace that is both": (
        one().having(workspace={"size": "1Gi", "claim": "mine"}),
        "spec.workspace",
        "give exactly one",
        one().having(workspace={"size": "1Gi"}),
    ),
    "a workspace that is neither": (
        one().having(workspace={}),
        "spec.workspace",
        "give exactly one",
        one().having(workspace={"claim": "mine"}),
    ),
    "a storage class of a claim that exists": (
        one().having(workspace={"claim": "mine", "storageClass": "fast"}),
        "spec.workspace.storageClass",
        "belongs to a new claim",
        one().having(workspace={"size": "1Gi", "storageClass": "fast"}),
    ),
    "an access mode of a claim that exists": (
        one().having(workspace={"claim": "mine", "accessMode": "ReadWriteMany"}),
        "spec.workspace.accessMode",
        "belongs to a new claim",
        one().having(workspace={"size": "1Gi", "accessMode": "ReadWriteMany"}),
    ),
    "a first wait longer than the longest": (
        one(retry={"limit": 1, "backoff": {"initial": "11m"}}),
        "spec.steps[0].retry.backoff.initial",
        "initial 11m is longer than max 10m",
        one(retry={"limit": 1, "backoff": {"initial": "10m"}}),
    ),
    "the same in the defaults": (
        one().having(defaults={"retry": {"backoff": {"initial": "1h", "max": "59m"}}}),
        "spec.defaults.retry.backoff.initial",
        "initial 1h is longer than max 59m",
        one().having(defaults={"retry": {"backoff": {"initial": "1h", "max": "60m"}}}),
    ),
    "a timeout of nothing": (
        one(timeout="0s"),
        "spec.steps[0].timeout",
        "0s is no time at all",
        one(timeout="1s"),
    ),
    "a startTimeout of nothing": (
        one().having(defaults={"startTimeout": "0m0s"}),
        "spec.defaults.startTimeout",
        "0m0s is no time at all",
        one().having(defaults={"startTimeout": "0m1s"}),
    ),
    "a timeout beyond the calendar": (
        one(timeout="99999999999d"),
        "spec.steps[0].timeout",
        "99999999999d is longer than 366d",
        one(timeout="366d"),
    ),
    "a backoff beyond the calendar": (
        one(retry={"limit": 9, "backoff": {"max": "99999999999d"}}),
        "spec.steps[0].retry.backoff.max",
        "longer than 366d",
        one(retry={"limit": 9, "backoff": {"max": "366d"}}),
    ),
    "a command and a script": (
        one(command=["x"], script="y"),
        "spec.steps[0]",
        "a step is one of command and args or script, not both",
        one(script="y"),
    ),
    "arguments and a script": (
        one(args=["x"], script="y"),
        "spec.steps[0]",
        "not both; remove one",
        one(args=["x"]),
    ),
    "nothing to run": (
        one(image=None, command=None).having(defaults={"image": "img"}),
        "spec.steps[0]",
        "nothing to run",
        one(image="img", command=None),
    ),
    "no image anywhere": (
        one(image=None),
        "spec.steps[0].image",
        "no image; give one here or in spec.defaults.image",
        one(image=None).having(defaults={"image": "img"}),
    ),
    "a need that nobody meets": (
        two(needs=["lnad"]),
        "spec.steps[1].needs[0]",
        "no step 'lnad'; did you mean 'land'?",
        two(needs=["land"]),
    ),
    "a need that is like nothing": (
        two(needs=["xyz"]),
        "spec.steps[1].needs[0]",
        "no step 'xyz'; there are: b, land",
        two(needs=["land"]),
    ),
    "a reserved variable": (
        one(env=[{"name": "DATAOPS_RUN", "value": "x"}]),
        "spec.steps[0].env[0].name",
        "'DATAOPS_RUN' belongs to the step contract; rename it",
        one(env=[{"name": "MY_DATAOPS_RUN", "value": "x"}]),
    ),
    "a reserved variable of tracing": (
        one(env=[{"name": "TRACEPARENT", "value": "x"}]),
        "spec.steps[0].env[0].name",
        "'TRACEPARENT' belongs to the step contract",
        one(env=[{"name": "MY_TRACEPARENT", "value": "x"}]),
    ),
    "a NUL in an argument": (
        one(args=["x", "a\0b"]),
        "spec.steps[0].args[1]",
        "holds a NUL character, which ends every argument and variable of a process; remove it",
        one(args=["x", "ab"]),
    ),
    "a NUL in a script": (
        one(script="echo \0"),
        "spec.steps[0].script",
        "holds a NUL character",
        one(script="echo"),
    ),
    "a NUL in a variable": (
        one(env=[{"name": "A", "value": "\0"}]),
        "spec.steps[0].env[0].value",
        "holds a NUL character",
        one(env=[{"name": "A", "value": ""}]),
    ),
    "a NUL in a default": (
        with_parameter(default="a\0b"),
        "spec.parameters[0].default",
        "holds a NUL character",
        with_parameter(default="ab"),
    ),
    "an unknown parameter": (
        two(args=["x", "$(params.dya)"]),
        "spec.steps[1].args[1]",
        "$(params.dya): no parameter 'dya'; did you mean 'day'?",
        two(args=["x", "$(params.day)"]),
    ),
    "any parameter where there are none": (
        one(command=["$(params.day)"]),
        "spec.steps[0].command[0]",
        "no parameter 'day'; there are none",
        one(command=["$$(params.day)"]),
    ),
    "a fan-out over a parameter that is no list": (
        two(forEach={"items": "$(params.day)"}),
        "spec.steps[1].forEach.items",
        "$(params.day) is of type String, and a fan-out is over a list; name an Array, or write a list of items",
        two(forEach={"items": ["$(params.day)"]}),
    ),
    "a range to what is no number": (
        two(forEach={"range": {"from": 1, "to": "$(params.days)"}}).parameter("days", "Array", default=[]),
        "spec.steps[1].forEach.range.to",
        "$(params.days) is of type Array, and a range is of whole numbers; name an Integer",
        two(forEach={"range": {"from": 1, "to": "$(params.days)"}}).parameter("days", "Integer", default=1),
    ),
    "a fan-out over an output that is no list": (
        two(forEach={"items": "$(steps.land.outputs.rows)"}),
        "spec.steps[1].forEach.items",
        "$(steps.land.outputs.rows) is of type String, and a fan-out is over a list",
        a_pipeline()
        .step("land", outputs=[{"name": "rows", "type": "Array"}])
        .step("b", forEach={"items": "$(steps.land.outputs.rows)"}),
    ),
    "a fan-out over a text": (
        two(forEach={"items": "day $(params.day)"}),
        "spec.steps[1].forEach.items",
        "day $(params.day) is of type String, and a fan-out is over a list",
        with_parameter("Array").step("b", forEach={"items": "$(params.p)"}),
    ),
    "a part of a parameter that has none": (
        two(args=["x", "$(params.day.year)"]),
        "spec.steps[1].args[1]",
        "$(params.day.year): parameter 'day' is a String, which has no parts; write $(params.day)",
        two(args=["x", "$(params.day)"]),
    ),
    "a part of a number in the key": (
        keyed("Integer"),
        "spec.concurrency.key",
        "$(params.p.x): parameter 'p' is an Integer, which has no parts; write $(params.p)",
        keyed("Object"),
    ),
    "an unknown step": (
        two(env=[{"name": "N", "value": "$(steps.lend.outputs.rows)"}]),
        "spec.steps[1].env[0].value",
        "$(steps.lend.outputs.rows): no step 'lend'; did you mean 'land'?",
        two(env=[{"name": "N", "value": "$(steps.land.outputs.rows)"}]),
    ),
    "an unknown output": (
        two(args=["$(steps.land.outputs.row)"]),
        "spec.steps[1].args[0]",
        "step 'land' declares no output 'row'; did you mean 'rows'?",
        two(args=["$(steps.land.outputs.rows)"]),
    ),
    "any output of a step that declares none": (
        a_pipeline().step("a").step("b", args=["$(steps.a.outputs.n)"]),
        "spec.steps[1].args[0]",
        "step 'a' declares no output 'n'; there are none",
        a_pipeline().step("a", outputs=[{"name": "n"}]).step("b", args=["$(steps.a.outputs.n)"]),
    ),
    "a step without the word outputs": (
        two(args=["$(steps.land.rows)"]),
        "spec.steps[1].args[0]",
        "write $(steps.land.outputs.<name>)",
        two(args=["$(steps.land.outputs.rows)"]),
    ),
    "an unknown name of the run": (
        one(args=["$(run.date)"]),
        "spec.steps[0].args[0]",
        "$(run.date): no such name; known here are",
        one(args=["$(run.logicalDate)"]),
    ),
    "a template in an image": (
        two(image="img:$(params.tag)"),
        "spec.steps[1].image",
        "no parameter 'tag'",
        two(image="img:$(params.day)"),
    ),
    "a template in the image of all steps": (
        two().having(defaults={"image": "img:$(params.dya)"}),
        "spec.defaults.image",
        "no parameter 'dya'; did you mean 'day'?",
        two().having(defaults={"image": "img:$(params.day)"}),
    ),
    "an output in the image of all steps": (
        two().having(defaults={"image": "img:$(steps.land.outputs.rows)"}),
        "spec.defaults.image",
        "every step would need that step, itself as well",
        two(image="img:$(steps.land.outputs.rows)"),
    ),
    "an item where nothing fans out": (
        one(args=["$(item)"]),
        "spec.steps[0].args[0]",
        "only steps with forEach have items; write that, or $$(item) for the text itself",
        one(args=["$$(item)"]),
    ),
    "something of the environment that is no parameter": (
        one(args=["$(env.parameters.x)"]),
        "spec.steps[0].args[0]",
        "write $(env.name) or $(env.params.<name>)",
        one(args=["$(env)", "$(env.name)", "$(env.params.x)", "$(env.params.x.y)"]),
    ),
    "the environment's parameters as a whole": (
        one(args=["$(env.params)"]),
        "spec.steps[0].args[0]",
        "write $(env.name) or $(env.params.<name>)",
        one(args=["$$(env.params)"]),
    ),
    "a target without an attribute": (
        one(args=["$(targets.lake)"]),
        "spec.steps[0].args[0]",
        "write $(targets.lake.url), or another attribute of it",
        one(args=["$(targets.lake.url)"]),
    ),
    "an attribute that no target has": (
        one(args=["$(targets.lake.readurl)"]),
        "spec.steps[0].args[0]",
        "no target has 'readurl'; did you mean 'readUrl'?",
        one(args=["$(targets.lake.readUrl)"]),
    ),
    "a dataset where there is none": (
        one(args=["$(datasets.x.candidate)"]),
        "spec.steps[0].args[0]",
        "the pipeline has no datasets",
        one(args=["$(datasets)"]),
    ),
    "a quantity that is none": (
        one(resources={"limits": {"memory": "lots"}}),
        "spec.steps[0].resources.limits.memory",
        "'lots' is not a quantity; write",
        one(resources={"limits": {"memory": "1.5Gi"}, "requests": {"cpu": 1, "memory": "128974848"}}),
    ),
    "a quantity below nothing, for all steps": (
        one().having(defaults={"image": "img", "resources": {"requests": {"cpu": "-1"}}}),
        "spec.defaults.resources.requests.cpu",
        "'-1' is not a quantity",
        one().having(defaults={"image": "img", "resources": {"requests": {"cpu": "500m"}}}),
    ),
    "a request beyond its limit": (
        one(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
        "spec.steps[0].resources.requests.memory",
        "'2Gi' is more than its limit of '1Gi'; lower it, or raise the limit",
        one(resources={"requests": {"memory": "1024Mi"}, "limits": {"memory": "1Gi"}}),
    ),
    "a resource that there is not": (
        one(resources={"limits": {"foo": 1}}),
        "spec.steps[0].resources.limits.foo",
        "'foo' is no resource of a container; give cpu, memory,",
        one(resources={"limits": {"acme.com/foo": 1, "hugepages-2Mi": "4Mi"}}),
    ),
    "memory in parts of a byte": (
        one(resources={"limits": {"memory": "128m"}}),
        "spec.steps[0].resources.limits.memory",
        "'128m' is in parts of a byte: m is a thousandth; write 128Mi for mebibytes",
        one(resources={"limits": {"memory": "0.1Gi", "cpu": "128m", "ephemeral-storage": "1073741824000m"}}),
    ),
    "a part of what is counted": (
        one(resources={"limits": {"nvidia.com/gpu": "500m"}}),
        "spec.steps[0].resources.limits[nvidia.com/gpu]",
        "'500m' is no whole number, in which nvidia.com/gpu is counted; write one",
        one(resources={"limits": {"nvidia.com/gpu": "1"}}),
    ),
    "what cannot be shared, without a limit": (
        one(resources={"requests": {"nvidia.com/gpu": 1}}),
        "spec.steps[0].resources.requests[nvidia.com/gpu]",
        "nvidia.com/gpu needs a limit, too, of as much; add it to spec.steps[0].resources.limits",
        one(resources={"limits": {"nvidia.com/gpu": 1}, "requests": {"x.kubernetes.io/shared": 1}}),
    ),
    "or with another one": (
        one(resources={"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}}),
        "spec.steps[0].resources.requests[nvidia.com/gpu]",
        "1 of nvidia.com/gpu is not its limit of 2; make both the same",
        one(resources={"requests": {"nvidia.com/gpu": 2}, "limits": {"nvidia.com/gpu": "2"}}),
    ),
    "an image that is none": (
        one(image="acme/flights :1"),
        "spec.steps[0].image",
        "'acme/flights :1' is no image reference; write it as",
        one(image="acme/flights:1"),
    ),
    "an image that is none, for all steps": (
        one().having(defaults={"image": "Acme"}),
        "spec.defaults.image",
        "'Acme' is no image reference",
        one().having(defaults={"image": "localhost:5000/acme"}),
    ),
    "an image with a blank beside its templates": (
        one(image="acme/flights: $(run.name)"),
        "spec.steps[0].image",
        "has a blank in it, as no image reference does",
        one(image="acme/flights:$(run.name)"),
    ),
    "exit codes of a class that is not tried again": (
        one(retry={"limit": 1, "on": ["Infrastructure"], "exitCodes": {"retry": [75]}}),
        "spec.steps[0].retry.exitCodes",
        "no attempt follows a Failure; add Failure to on",
        one(retry={"limit": 1, "on": ["Failure"], "exitCodes": {"retry": [75]}}),
    ),
    "exit codes where no attempt follows": (
        one().having(defaults={"image": "img", "retry": {"exitCodes": {"never": [2]}}}),
        "spec.defaults.retry.exitCodes",
        "no attempt follows a Failure: limit is 0; set it to 1 or more",
        one().having(defaults={"image": "img", "retry": {"limit": 1, "exitCodes": {"never": [2]}}}),
    ),
    "an exit code that is worth another attempt and never": (
        one(retry={"limit": 1, "exitCodes": {"retry": [75, 2], "never": [3, 2]}}),
        "spec.steps[0].retry.exitCodes.never[1]",
        "2 is in retry, too",
        one(retry={"limit": 1, "exitCodes": {"retry": [75], "never": [3, 2]}}),
    ),
    "more memory where no attempt follows": (
        one(retry={"on": ["OutOfMemory"], "memory": {"max": "1Gi"}}),
        "spec.steps[0].retry.memory",
        "no attempt follows one that was OutOfMemory: limit is 0",
        one(retry={"limit": 1, "on": ["OutOfMemory"], "memory": {"max": "1Gi"}}),
    ),
    "a circle of two": (
        a_pipeline().step("a", needs=["b"]).step("b", needs=["a"]),
        "spec.steps[0].needs",
        "steps need each other in a circle: a -> b -> a; remove one",
        a_pipeline().step("a").step("b", needs=["a"]),
    ),
    "a circle by an output": (
        a_pipeline().step("x").step("a", needs=["b"], outputs=[{"name": "n"}]).step("b", args=["$(steps.a.outputs.n)"]),
        "spec.steps[1].needs",
        "a -> b -> a; remove one of these needs or uses of outputs",
        a_pipeline().step("x").step("a", outputs=[{"name": "n"}]).step("b", args=["$(steps.a.outputs.n)"]),
    ),
    "a step that needs itself": (
        one(needs=["a"]),
        "spec.steps[0].needs",
        "a -> a",
        one(needs=[]),
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_told_with_its_path_and_the_cure_and_its_mended_neighbour_is_not(case: Case) -> None:
    wrong, path, message, right = case
    spec, problems = parse(wrong.raw)
    assert spec is not None
    assert [problem.path for problem in problems] == [path]
    assert message in problems[0].message
    assert parse(right.raw)[1] == []
    assert exists(wrong.raw, path), "the path names a place in the object, or the field to be added to it"


def exists(raw: Any, path: str) -> bool:
    """Whether a path leads somewhere; its last name may be a field that is missing."""
    keys = re.findall(r"\.(\w+)|\[(\d+)\]", path.removeprefix("spec"))
    for name, index in keys[:-1]:
        raw = raw[name] if name else raw[int(index)]
    return not keys or isinstance(raw, dict) or int(keys[-1][1]) < len(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        pytest.param({}, "spec.steps", id="no steps"),
        pytest.param({"steps": []}, "spec.steps", id="an empty list of steps"),
        pytest.param({"steps": [{"name": "A B"}]}, "spec.steps[0].name", id="a name that is no label"),
        pytest.param(
            {"steps": [{"name": "a", "retry": {"limit": 21}}]}, "spec.steps[0].retry.limit", id="a number out of bounds"
        ),
        pytest.param(
            {"steps": [{"name": "a", "startTimeout": "soon"}]},
            "spec.steps[0].startTimeout",
            id="what is no duration, by the name on the wire",
        ),
        pytest.param(
            {"steps": [{"name": "a"}], "parameters": [{"name": "p", "type": "Text"}]},
            "spec.parameters[0].type",
            id="an unknown type",
        ),
    ],
)
def test_what_has_not_even_the_shape_is_told_with_its_path(raw: dict[str, Any], path: str) -> None:
    spec, problems = parse(raw)
    assert spec is None
    assert [problem.path for problem in problems] == [path]
    assert problems[0].message


def test_fields_of_a_newer_release_do_no_harm() -> None:
    assert parse(one().having(triggers=[{"dataset": "x"}]).raw)[1] == []


def test_a_thousand_steps_are_read_in_seconds() -> None:
    names = [f"step-{index}" for index in range(1000)]
    began = time.process_time()
    _, problems = parse(a_pipeline().chain(*names, args=["$(params.x)"]).raw)
    assert len(problems) == 1000
    assert time.process_time() - began < 2, "of CPU; the machine may be busy with something else"


@pytest.mark.parametrize(("count", "more"), [(1, None), (SHOWN, None), (SHOWN + 1, 1), (100, 100 - SHOWN)])
def test_a_summary_names_the_first_and_counts_the_rest(count: int, more: int | None) -> None:
    text = summarise([replace(Problem("spec", "x"), path=f"spec.steps[{index}]") for index in range(count)])
    assert text.startswith("spec.steps[0]: x")
    assert text.count(": x") == min(count, SHOWN)
    assert text.endswith(f"; and {more} more" if more else ": x")


NAMES = st.sampled_from(["a", "b", "c", "land"])
TEXTS = st.sampled_from(
    ["x", "$(params.p)", "$(steps.a.outputs.n)", "$(steps.b.outputs.n.m)", "$(run.name)", "$(item)", "$(steps.a)", "$("]
)
STEPS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "image": TEXTS,
        "command": st.lists(TEXTS, max_size=2),
        "script": st.sampled_from(["", "x"]),
        "needs": st.lists(NAMES, max_size=3),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["n", "m"])}), max_size=2),
        "timeout": st.sampled_from(["1s", "0s", "x", "9999999999999999999999999999d"]),
    },
)
PARAMETERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["p", "P", "q"])},
    optional={
        "type": st.sampled_from(["String", "Integer", "Number", "Date", "Array", "Nope"]),
        "default": st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        "enum": st.lists(st.integers(-3, 3) | TEXTS, max_size=2),
        "minimum": st.integers(-3, 3) | st.sampled_from(["0.5", "x", "NaN", "sNaN"]),
        "maximum": st.integers(-3, 3) | st.sampled_from(["0.5", "x", "Infinity"]),
        "pattern": st.sampled_from(["a", "(", "[a-z"]),
        "required": st.booleans(),
    },
)


@given(
    st.fixed_dictionaries(
        {"steps": st.lists(STEPS, max_size=4)}, optional={"parameters": st.lists(PARAMETERS, max_size=3)}
    )
)
def test_whatever_is_written_is_judged_and_every_path_exists(raw: dict[str, Any]) -> None:
    _, problems = parse(raw)
    for problem in problems:
        assert problem.message
        assert exists(raw, problem.path), problem
