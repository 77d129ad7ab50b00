"""Step templates: what is wrong with one, what is wrong with its use, and what comes of a right one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment
from tests.unit.core.test_jobs import environment_of, mounts_of

from dataops_operator.core.credentials import Armed
from dataops_operator.core.fit import unfit
from dataops_operator.core.graph import Dependency
from dataops_operator.core.inputs import Inputs
from dataops_operator.core.jobs import build_job
from dataops_operator.core.revision import controller_revision, read_revision
from dataops_operator.core.stepparameters import TOTAL_SHOWN, step_parameters
from dataops_operator.core.steptemplates import compile_pipeline, missing, parse_template, used
from dataops_operator.core.templating import TemplateError

Object = dict[str, Any]

DAY: Object = {"name": "day", "type": "Date"}
COUNT: Object = {"name": "rows", "type": "Integer"}
LAND: Object = {
    "parameters": [DAY, {"name": "limit", "type": "Integer", "default": 10, "minimum": 1}],
    "image": "land:1",
    "command": ["land", "--day=$(params.day)", "$(params.limit)"],
    "env": [{"name": "MODE", "value": "all of $(params.day)"}],
    "outputs": [COUNT],
}


def problems(pipeline: PipelineBuilder) -> list[str]:
    return [str(one) for one in pipeline.compiled().problems]


def job_of(pipeline: PipelineBuilder, step: int = 0, inputs: Inputs | None = None, **outputs: Any) -> Object:
    inputs = inputs or a_run().inputs(pipeline)
    return build_job(inputs, (inputs.revision.spec.steps[step],), 1, outputs)


def container_of(pipeline: PipelineBuilder, step: int = 0, inputs: Inputs | None = None, **outputs: Any) -> Object:
    (container,) = job_of(pipeline, step, inputs, **outputs)["spec"]["template"]["spec"]["containers"]
    body: Object = container
    return body


# A template by itself.


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(LAND, id="command, parameters, outputs"),
        pytest.param({"script": "echo $DATAOPS_PARAM_X", "parameters": [{"name": "x"}]}, id="a script, no image"),
        pytest.param({"image": "a:$(params.tag)", "parameters": [{"name": "tag"}]}, id="an image of a parameter"),
        pytest.param({"command": ["a", "$(targets.lake.url)", "$(run.name)", "$(env.name)"]}, id="names of a run"),
        pytest.param(
            {"command": ["a"], "secrets": [{"name": "api", "env": [{"name": "K", "key": "k"}]}]}, id="secrets"
        ),
        pytest.param({"command": ["a", "$$(params.nobody) $(date)"]}, id="what is no template"),
    ],
)
def test_a_right_template_has_no_problems(right: Object) -> None:
    assert parse_template(right)[1] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"command": []}, "spec.command: "),
        ({"description": "x"}, "spec: nothing to run; give command, args, script, or an image"),
        ({"script": "a", "args": ["b"]}, "spec: a step is one of command and args or script, not both"),
        ({"command": ["$(params.dya)"], "parameters": [DAY]}, "spec.command[0]: $(params.dya): no parameter 'dya'"),
        (
            {"command": ["$(steps.land.outputs.rows)"]},
            "spec.command[0]: $(steps.land.outputs.rows): a template knows no steps; take the value as a parameter",
        ),
        ({"args": ["$(item)"]}, "spec.args[0]: $(item): a template knows no fan-out; take the value as a parameter"),
        (
            {"env": [{"name": "A", "value": "$(with.day)"}], "command": ["a"]},
            "spec.env[0].value: $(with.day): a template's parameter is written $(params.day), in the template",
        ),
        ({"command": ["a"], "parameters": [{"name": "n", "type": "Integer", "default": "x"}]}, "spec.parameters[0]"),
        ({"command": ["a"], "timeout": "0s"}, "spec.timeout: 0s is no time at all"),
        ({"command": ["a"], "resources": {"limits": {"memory": "much"}}}, "spec.resources.limits.memory: 'much'"),
        ({"command": ["a"], "env": [{"name": "DATAOPS_X"}]}, "spec.env[0].name: 'DATAOPS_X' belongs to the step"),
        ({"command": ["a"], "outputs": [COUNT, COUNT]}, "spec.outputs[1].name: the name 'rows' is there already"),
        ({"command": ["a"], "secrets": [{"name": "a", "as": "b"}]}, "spec.secrets[0].as: a template has one name"),
    ],
)  # fmt: skip
def test_a_wrong_template_says_where_and_what_to_do(wrong: Object, said: str) -> None:
    found = [str(one) for one in parse_template(wrong)[1]]
    assert len(found) == 1
    assert found[0].startswith(said), found


# Its use.


def flights(values: Object | None = None, land: Object | None = None, **fields: Any) -> PipelineBuilder:
    built = a_pipeline().template("land", **(land or LAND)).parameter("date", "Date")
    return built.uses("one", "land", {"day": "$(params.date)"} if values is None else values, **fields)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (a_pipeline().uses("a", "lnad"), "spec.steps[0].template: no step template 'lnad' in the pipeline's namespace"),
        (
            a_pipeline().template("land", **LAND).uses("a", "lnad"),
            "spec.steps[0].template: no step template 'lnad' in the pipeline's namespace; did you mean 'land'?",
        ),
        (
            flights(land={"command": ["$(params.x)"]}, values={}),
            "spec.steps[0].template: step template 'land' is not valid: spec.command[0]: $(params.x): no parameter 'x'",
        ),
        (flights({}), "spec.steps[0].with: step template 'land' needs a value for 'day'; add {name: day, value: …}"),
        (flights({"day": None}), "spec.steps[0].with: step template 'land' needs a value for 'day'"),
        (
            flights({"day": "2013-02-09", "dya": 1}),
            "spec.steps[0].with[1].name: step template 'land' has no parameter 'dya'; did you mean 'day'?",
        ),
        (flights({"day": "soon"}), 'spec.steps[0].with[0].value: day: "soon" is not a date'),
        (flights({"day": "2013-02-09", "limit": 0}), "spec.steps[0].with[1].value: limit: 0 is less than 1"),
        (flights({"day": "$(params.day)"}), "spec.steps[0].with[0].value: $(params.day): no parameter 'day'"),
        (flights({"day": "$(with.day)"}), "spec.steps[0].with[0].value: $(with.day): here are the pipeline's"),
        (flights({"day": "$(steps.no.outputs.x)"}), "spec.steps[0].with[0].value: $(steps.no.outputs.x): no step 'no'"),
        (flights(image="other"), "spec.steps[0].image: image is said by step template 'land' alone; remove it"),
        (flights(command=["x"]), "spec.steps[0].command: command is said by step template 'land' alone"),
        (flights(outputs=[COUNT]), "spec.steps[0].outputs: outputs is said by step template 'land' alone"),
        (
            flights(env=[{"name": "MODE", "value": "x"}]),
            "spec.steps[0].env[0].name: step template 'land' sets 'MODE' itself",
        ),
        (flights(env=[{"name": "A", "value": "$(params.x)"}]), "spec.steps[0].env[0].value: $(params.x): no parameter"),
        (flights(timeout="0s"), "spec.steps[0].timeout: 0s is no time at all"),
        (flights(needs=["nobody"]), "spec.steps[0].needs[0]: no step 'nobody'"),
        (
            flights(land={"script": "x"}, values={}),
            "spec.steps[0].template: step template 'land' leaves the image to the pipeline; give one in",
        ),
        (
            flights(land={**LAND, "version": "2"}).having(
                steps=[{"name": "a", "template": {"name": "la", "version": "nd"}}]
            ).template("la-nd", **{**LAND, "version": "2"}),
            "spec.steps[0].template.version: step template 'la-nd' is version '2', not version 'nd'",
        ),
        (
            a_pipeline().step("a").having(steps=[{"name": "a", "image": "b", "with": [{"name": "x"}]}]),
            "spec.steps[0].with: gives values to a template's parameters; name the template, or remove it",
        ),
    ],
)  # fmt: skip
def test_a_wrong_use_says_where_and_what_to_do(wrong: PipelineBuilder, said: str) -> None:
    found = problems(wrong)
    assert len(found) == 1, found
    assert found[0].startswith(said), found


def test_an_output_of_a_template_is_known_and_another_is_not() -> None:
    built = flights().step("two", command=["x", "$(steps.one.outputs.rows)"])
    assert problems(built) == []
    assert built.revision().follows["two"] == (Dependency("one"),)
    (wrong,) = problems(flights().step("two", command=["x", "$(steps.one.outputs.row)"]))
    assert wrong.startswith("spec.steps[1].command[1]: $(steps.one.outputs.row): step 'one' declares no output 'row'")


def test_a_pipeline_waits_for_a_template_only_where_nothing_else_is_wrong() -> None:
    waits = a_pipeline().uses("a", "one").uses("b", "two").step("c", command=["$(steps.a.outputs.x)"])
    assert missing(waits.compiled().problems) == ("one", "two")
    wrong = waits.step("d", needs=["nobody"])
    assert len(problems(wrong)) == 3, "what else is wrong is told at once"
    assert missing(wrong.compiled().problems) == ()
    assert missing([]) == ()


def test_which_templates_a_spec_uses_is_known_whatever_shape_it_has() -> None:
    steps: list[Any] = [
        {"template": {"name": "a", "version": "1.2"}}, {"template": {"name": "b"}}, {"template": {"name": "b"}},
        {"template": {"name": 7}}, {"template": "c"}, {"template": None}, {}, "x", None, 3,
    ]  # fmt: skip
    assert used({"steps": steps}) == ("a-1.2", "b")
    shapes: list[Any] = [
        {},
        {"steps": None},
        {"steps": {"template": {"name": "a"}}},
        {"steps": "template"},
        [],
        None,
        "x",
    ]
    assert [used(one) for one in shapes] == [()] * len(shapes)


# What comes of it.


def test_a_step_of_a_template_runs_what_the_template_says_with_its_own_names() -> None:
    built = a_pipeline().template("land", **LAND).parameter("day", "String", default="of the pipeline")
    built.uses("one", "land", {"day": "2013-02-09T06:00:00Z"}, env=[{"name": "MINE", "value": "$(params.day)"}])
    container = container_of(built)
    assert container["image"] == "land:1"
    assert container["command"] == ["land", "--day=2013-02-09", "10"]
    seen = environment_of(container)
    assert (seen["MODE"], seen["MINE"]) == ("all of 2013-02-09", "of the pipeline")
    assert {key: value for key, value in seen.items() if key.startswith("DATAOPS_PARAM_")} == {
        "DATAOPS_PARAM_DAY": "2013-02-09",
        "DATAOPS_PARAM_LIMIT": "10",
    }, "a script of a template finds the template's parameters, and no others"


def test_params_json_of_a_step_of_a_template_has_the_templates_parameters() -> None:
    inputs = a_run().parameter("date", "2013-02-09").inputs(flights().step("two"))
    job = job_of(flights(), 0, inputs)
    pod = job["spec"]["template"]
    mount = mounts_of(pod["spec"]["containers"][0])["/dataops/params.json"]
    (volume,) = (one for one in pod["spec"]["volumes"] if one["name"] == mount["name"])
    (item,) = (one for one in volume["downwardAPI"]["items"] if one["path"] == mount["subPath"])
    key = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    assert orjson.loads(pod["metadata"]["annotations"][key]) == {"day": "2013-02-09", "limit": 10}
    assert orjson.loads(pod["metadata"]["annotations"]["dataops.dev/parameters"]) == {"date": "2013-02-09"}, (
        "what the run began with stays there for the next operator"
    )
    assert mounts_of(container_of(flights(), 1, inputs))["/dataops/params.json"]["subPath"] == "params.json"


def test_an_annotation_of_a_step_with_a_long_name_has_a_name_that_kubernetes_takes() -> None:
    name = "s" * 63
    job = job_of(a_pipeline().template("t", script="x", image="i").uses(name, "t"))
    keys = [key.rpartition("/")[2] for key in job["spec"]["template"]["metadata"]["annotations"]]
    assert max(map(len, keys)) <= 63


def test_an_output_of_another_step_reaches_a_template_typed_and_implies_the_need() -> None:
    parameters = [{"name": "n", "type": "Integer"}, {"name": "all", "type": "Array"}]
    built = a_pipeline().template("show", image="i", command=["$(params.n)", "$(params.all)"], parameters=parameters)
    built.step("count", outputs=[COUNT]).uses(
        "show", "show", {"n": "$(steps.count.outputs.rows)", "all": ["$(steps.count.outputs.rows)", "$(run.name)"]}
    )
    assert built.revision().follows["show"] == (Dependency("count"),)
    assert container_of(built, 1, count={"rows": 7})["command"] == ["7", '[7,"flights-1"]']
    with pytest.raises(TemplateError, match=r"^n: 1.5 is not a whole number"):
        container_of(built, 1, count={"rows": 1.5})


def test_what_a_step_says_itself_comes_before_its_template_and_that_before_the_pipelines_defaults() -> None:
    said: Object = {
        "retry": {"limit": 3},
        "timeout": "3m",
        "startTimeout": "30s",
        "resources": {"limits": {"cpu": "3"}},
    }
    template: Object = {"image": "i", "retry": {"limit": 2}, "timeout": "2m", "startTimeout": "20s",
                "resources": {"limits": {"cpu": "2"}}}  # fmt: skip
    built = a_pipeline().template("t", **template).uses("a", "t", **said).uses("b", "t")
    built.having(defaults={"timeout": "1m", "retry": {"limit": 1}})
    one, two = built.revision().spec.steps
    assert (one.retry.limit if one.retry else 0, one.timeout, one.start_timeout) == (3, "3m", "30s")
    assert (two.retry.limit if two.retry else 0, two.timeout, two.start_timeout) == (2, "2m", "20s")
    assert container_of(built, 0)["resources"] == {"limits": {"cpu": "3"}}
    assert container_of(built, 1)["resources"] == {"limits": {"cpu": "2"}}


def test_a_template_without_image_runs_in_the_pipelines_whose_names_are_the_pipelines() -> None:
    built = a_pipeline().template("t", script="x", parameters=[{"name": "tag", "default": "of-the-template"}])
    built.parameter("tag", default="of-the-pipeline").having(defaults={"image": "img:$(params.tag)"})
    assert container_of(built.uses("a", "t"))["image"] == "img:of-the-pipeline"


# Composition: a step of a template is what one writes by hand.

TEXT = st.text(max_size=12).filter(lambda text: "\0" not in text)
PIECES = st.lists(
    st.sampled_from(["$(params.x)", "$$(params.x)", "$(date)", "$$", "$(", ")", "a", '"', " ", "\n"]) | TEXT
)


@given(PIECES, PIECES, TEXT)
def test_a_template_filled_in_is_what_is_written_by_hand(inner: list[str], outer: list[str], value: str) -> None:
    """Whatever stands in the template, in `with` and in the value: one argument, filled in once."""
    text, given_text = "".join(inner), "".join(outer)
    built = a_pipeline().parameter("x").template("t", image="i", command=["do", text], parameters=[{"name": "x"}])
    inputs = a_run().parameter("x", value).inputs(built.uses("a", "t", {"x": given_text}))
    made = container_of(built, inputs=inputs)["command"]

    # By hand: the value of `with` as it stands in a default's place, and the template's text as a step's own.
    with_value = inputs.scope(inputs.revision.spec.steps[0], {})
    assert with_value is not None
    by_hand = a_pipeline().parameter("x").step("a", image="i", command=["do", text])
    plain = container_of(by_hand, inputs=a_run().parameter("x", with_value.value("x").value).inputs(by_hand))
    assert made == plain["command"]
    assert len(made) == 2


@given(st.lists(TEXT, max_size=4), st.integers(-5, 5), TEXT)
def test_a_value_never_changes_the_structure_of_a_pod(words: list[str], number: int, text: str) -> None:
    built = a_pipeline().parameter("words", "Array").parameter("number", "Integer").parameter("text")
    built.template("t", image="i", script="x", env=[{"name": "ALL", "value": "$(params.all)"}],
                   parameters=[{"name": "all", "type": "Object"}])  # fmt: skip
    built.uses("a", "t", {"all": {"$(params.text)": ["$(params.words)", "$(params.number)", "<$(params.text)>"]}})
    run = a_run().parameter("words", words).parameter("number", number).parameter("text", text)
    container = container_of(built, inputs=run.inputs(built))
    held = orjson.loads(environment_of(container)["ALL"])
    assert held == {"$(params.text)": [words, number, f"<{text}>"]}, "keys stand untouched, values are values"
    assert environment_of(container)["DATAOPS_PARAM_ALL"] == environment_of(container)["ALL"]


# Secrets.

API: Object = {"name": "api", "vault": {"path": "secret/data/x"}, "keys": [{"key": "token"}]}
KEYED: Object = {"image": "i", "secrets": [{"name": "key", "env": [{"name": "TOKEN", "key": "token"}]}]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "spec.steps[0].secrets: step template 't' needs a secret 'key'; add one of that name"),
        ({"secrets": [{"name": "api", "as": "kee"}]}, "spec.steps[0].secrets[0]: step template 't' asks for no secret"),
        ({"secrets": [{"name": "ap", "as": "key"}]}, "spec.steps[0].secrets[0].name: no secret 'ap' in spec"),
        (
            {"secrets": [{"name": "api", "as": "key", "env": [{"name": "A", "key": "token"}]}]},
            "spec.steps[0].secrets[0].env: step template 't' says how it takes secrets; remove env",
        ),
    ],
)  # fmt: skip
def test_a_secret_that_does_not_match_is_told(fields: Object, said: str) -> None:
    found = problems(a_pipeline().template("t", **KEYED).uses("a", "t", **fields).having(secrets=[API]))
    assert found[0].startswith(said), found


def test_a_template_gets_the_secret_of_its_own_name_or_the_one_that_the_step_says() -> None:
    files = {"image": "i", "secrets": [{"name": "key"}]}
    built = a_pipeline().template("t", **KEYED).template("files", **files)
    built.uses("a", "t", secrets=[{"name": "api", "as": "key"}]).uses(
        "b", "files", secrets=[{"name": "api", "as": "key"}]
    )
    built.having(secrets=[API, API | {"name": "key"}]).uses("c", "files")
    environment = an_environment(vault={"role": "r"})
    inputs = a_run().inputs(built, environment)
    armed = Armed(secret="s", files={"api": ("token",), "key": ("token",)})
    pods = [build_job(inputs, (step,), 1, {}, armed)["spec"]["template"]["spec"] for step in inputs.revision.spec.steps]
    (variable,) = (one for one in pods[0]["containers"][0]["env"] if one["name"] == "TOKEN")
    assert variable["valueFrom"]["secretKeyRef"]["key"] == "api.token"
    for pod, source in ((pods[1], "api.token"), (pods[2], "key.token")):
        mount = mounts_of(pod["containers"][0])["/dataops/secrets/key"]
        (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
        assert volume["secret"]["items"] == [{"key": source, "path": "token"}]


# Revisions.


def test_an_edited_template_is_another_revision_and_the_one_before_runs_what_it_ran() -> None:
    before, after = flights(), flights(land={**LAND, "command": ["land", "anew"]})
    assert before.revision().name != after.revision().name
    kept = controller_revision(before.revision(), "flights", "u", 1)["data"]
    stored = read_revision(before.revision().name, orjson.loads(orjson.dumps(kept)))
    assert stored == before.revision()
    inputs = a_run().parameter("date", "2013-02-09").inputs(before)
    read = Inputs(inputs.identity, stored, inputs.parameters, inputs.logical_date, inputs.runner)
    assert job_of(before, inputs=read) == job_of(before, inputs=inputs)


@pytest.mark.parametrize(
    ("land", "same"),
    [
        ({**LAND, "description": "Lands.", "owner": "data"}, True),
        ({**LAND, "parameters": [{**DAY, "required": False}, LAND["parameters"][1]]}, True),
        ({**LAND, "parameters": [DAY, {**LAND["parameters"][1], "default": 11}]}, False),
        ({**LAND, "parameters": [DAY, {**LAND["parameters"][1], "maximum": 11}]}, False),
        ({**LAND, "env": []}, False),
    ],
)
def test_what_of_a_template_makes_another_revision(land: Object, same: bool) -> None:
    assert (flights(land=land).revision().name == flights().revision().name) is same


def test_a_pipeline_of_no_template_is_the_revision_that_it_always_was() -> None:
    """Names of revisions outlive releases of the operator."""
    flights = a_pipeline().parameter("day", "Date").step("land", image="a:1").having(fuse="Never")
    assert flights.revision().name == "flights-dea9c7e993"


def test_a_pipeline_that_grows_beyond_a_revision_is_refused() -> None:
    built = a_pipeline().template("t", image="i", script="x" * 65_000)
    for number in range(17):
        built.uses(f"s{number}", "t")
    (found,) = problems(built)
    assert found.startswith("spec.steps: with its templates filled in it has 10")
    assert "split the pipeline" in found


# What a run shows.


def test_a_run_shows_each_value_of_a_template_with_its_origin() -> None:
    parameters = [{"name": name} for name in "abcdefg"] + [{"name": "h", "default": "$(run.name)"}]
    built = a_pipeline().template("t", image="i", parameters=parameters)
    built.parameter("r").parameter("e", default="x").parameter("p", default="of the pipeline").step(
        "s", outputs=[COUNT]
    )
    built.uses("one", "t", {"a": "$(params.r)", "b": "$(params.e)", "c": "$(params.p)", "d": "$(env.params.bucket)",
                            "e": "text $(params.r)", "f": "$(steps.s.outputs.rows)", "g": "text"})  # fmt: skip
    environment = an_environment(
        parameters=[{"name": "e", "value": "of the environment"}, {"name": "bucket", "value": "lake"}]
    )
    rows = step_parameters(a_run().parameter("r", "of the run").inputs(built, environment))
    assert {row["step"] for row in rows} == {"one"}
    assert [(row["name"], row.get("value"), row["origin"]) for row in rows] == [
        ("a", "of the run", "Run"),
        ("b", "of the environment", "Environment"),
        ("c", "of the pipeline", "Pipeline"),
        ("d", "lake", "Environment"),
        ("e", "text of the run", "Pipeline"),
        ("f", None, "Step"),
        ("g", "text", "Pipeline"),
        ("h", "flights-1", "Template"),
    ]


def test_a_masked_value_is_not_shown_whoever_says_so() -> None:
    parameters = [{"name": "own", "masked": True}, {"name": "of_run"}, {"name": "of_env"}, {"name": "open"}]
    built = a_pipeline().template("t", image="i", parameters=parameters).parameter("pin", masked=True)
    built.uses("one", "t", {"own": "12345", "of_run": "x$(params.pin)", "of_env": "$(env.params.key)", "open": "y"})
    environment = an_environment(parameters=[{"name": "key", "value": "67890", "masked": True}])
    inputs = a_run().parameter("pin", "54321").inputs(built, environment)
    rows = {row["name"]: row for row in step_parameters(inputs)}
    assert [rows[name].get("masked", False) for name in ("own", "of_run", "of_env", "open")] == [
        True,
        True,
        True,
        False,
    ]
    assert not any("value" in rows[name] for name in ("own", "of_run", "of_env"))
    assert {"12345", "54321", "67890"} <= set(inputs.hidden), "nor where a message from elsewhere repeats it"


def test_what_a_run_shows_is_bounded() -> None:
    built = a_pipeline().template(
        "t", image="i", parameters=[{"name": f"p{n}", "default": "x" * 900} for n in range(64)]
    )
    for number in range(1000):
        built.uses(f"s{number}", "t")
    rows = step_parameters(a_run().inputs(built))
    assert 0 < len(rows) <= 256
    assert len(orjson.dumps(rows)) <= TOTAL_SHOWN + 1024


def test_a_value_that_does_not_fit_the_template_refuses_the_run() -> None:
    built = a_pipeline().template("t", image="i", parameters=[{"name": "n", "type": "Integer"}]).parameter("many")
    built.uses("a", "t", {"n": "$(params.many)"})
    assert unfit(a_run().parameter("many", "7").inputs(built)) == []
    ((reason, problem),) = unfit(a_run().parameter("many", "lots").inputs(built))
    assert reason == "InvalidParameters"
    assert str(problem).startswith('pipeline flights: spec.steps[0].with[0].value: n: "lots" is not a whole number')


def test_an_unknown_field_of_a_template_is_passed_over_as_everywhere() -> None:
    spec = compile_pipeline({"steps": [{"name": "a", "template": {"name": "t", "hostNetwork": True}}]}, {"t": {
        "image": "i", "hostNetwork": True, "serviceAccountName": "admin"}}).spec  # fmt: skip
    assert spec is not None
    assert "hostNetwork" not in str(spec.model_dump())
