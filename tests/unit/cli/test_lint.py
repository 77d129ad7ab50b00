"""What lint finds in files, and the line where it points."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from dataops_operator.api.crd import KINDS
from dataops_operator.cli import schema
from dataops_operator.cli.lint import CHECKS, Finding, Lint
from dataops_operator.cli.schema import Schema, schema_of
from dataops_operator.core.expressions import ExpressionError, compile_condition


def lint(*texts: str) -> list[Finding]:
    found = Lint()
    for number, text in enumerate(texts):
        found.read(f"{number}.yaml", textwrap.dedent(text).lstrip("\n"))
    found.check()
    return sorted(found.findings)


def told(*texts: str) -> list[str]:
    return [f"{one.line}:{one.column} {one.severity} {one.path}: {one.message}" for one in lint(*texts)]


HEAD = """
apiVersion: dataops.dev/v1alpha1
kind: Pipeline
metadata: {name: orders}
spec:
"""


def pipeline(body: str) -> str:
    """A Pipeline whose spec begins on line 5."""
    return HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), "  ")


STEP = """
steps:
- name: land
  image: img:1
  command: [land]
"""


def test_a_field_of_the_wrong_shape_hides_nothing_else() -> None:
    body = """
steps:
- name: land
  image: img:1
  command: land
  timeout: soon
  needs: [x]
- name: load
  image: img:1
  retry: {limit: lots}
  args: ["$(params.day)"]
"""
    assert [line.partition(" ")[2].rpartition(":")[0].partition(": ")[0] for line in told(pipeline(body))] == [
        "error spec.steps[0].command",
        "error spec.steps[0].timeout",
        "error spec.steps[0].needs[0]",
        "error spec.steps[1].retry.limit",
        "error spec.steps[1].args[0]",
    ]


def test_a_name_that_is_none_is_told_alone_since_others_may_mean_it() -> None:
    body = (
        STEP.replace("name: land", "name: 7")
        + """
- name: load
  image: img:1
  needs: [land]
"""
    )
    assert [line.split()[2] for line in told(pipeline(body))] == ["spec.steps[0].name:"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(STEP, [], id="nothing where nothing is wrong"),
        pytest.param(
            STEP + "  comand: [x]",
            ["9:5 error spec.steps[0].comand: no field 'comand' here; did you mean 'command'?"],
            id="a field that there is not, with the nearest one",
        ),
        pytest.param(
            STEP + """
  outputs: [{name: rows}]
- name: audit
  command: [audit]
  image: img:1
  when: steps.land.outputs.rows["x"] > 1
""",
            [
                "14:5 error spec.steps[1].when: steps.land.outputs.rows at column 1 is of type String and has no 'x';"
                " use it whole"
            ],
            id="a part of an output that has none",
        ),
        pytest.param(
            STEP + "  start_timeout: 5m",
            ["9:5 error spec.steps[0].start_timeout: no field 'start_timeout' here; did you mean 'startTimeout'?"],
            id="a field in another style",
        ),
        pytest.param(
            STEP + '  needs:\n  - "lnad"',
            ["10:7 error spec.steps[0].needs[0]: no step 'lnad'; did you mean 'land'?"],
            id="a step that there is not, at the item of the list",
        ),
        pytest.param(
            STEP + "- name: b\n  command: [b]",
            ["9:5 error spec.steps[1].image: no image; give one here or in spec.defaults.image"],
            id="a field that is missing, at what it is missing in",
        ),
        pytest.param(
            STEP + "  retry: {limit: 2, on: [Failure]}",
            [
                "9:23 error spec.steps[0].retry.on: a bare on is read as true by YAML 1.1, and so by kubectl; "
                'write "on" in quotes'
            ],
            id="a bare on",
        ),
        pytest.param(
            STEP + "parameters: [{name: y}]",
            [
                "9:17 error spec.parameters[0].name: a bare y is read as true by YAML 1.1, and so by kubectl; "
                'write "y" in quotes'
            ],
            id="a name that YAML 1.1 takes for true",
        ),
        pytest.param(
            STEP + "parameters: [{name: day, type: date}]",
            [
                "9:28 error spec.parameters[0].type: 'date' is not one of String, Integer, Number, Boolean, Date, "
                "Array, Object; did you mean Date?"
            ],
            id="a word of another list",
        ),
        pytest.param(
            STEP + 'parameters: [{name: day, required: "yes"}]',
            ["9:28 error spec.parameters[0].required: 'yes' is not true or false, without quotes"],
            id="a text where the API server wants a boolean, which pydantic would take",
        ),
        pytest.param(
            STEP + "parameters: [{name: day, type: Date, default: 2013-02-09}]",
            [],
            id="a date without quotes, which kubectl sends as text",
        ),
        pytest.param(
            STEP + "  outputs: [{name: rows}, {name: rows}]",
            [
                "9:30 error spec.steps[0].outputs[1].name: 'rows' is there already, as spec.steps[0].outputs[0]; "
                "names are unique"
            ],
            id="a name twice, said once",
        ),
        pytest.param(
            STEP + "  image: other",
            ["9:5 error spec.steps[0].image: the field 'image' is there already, on line 7; remove one"],
            id="a field twice",
        ),
        pytest.param(
            STEP + "- {name: b, image: i, needs: [c]}\n- {name: c, image: i, needs: [b]}",
            ["9:25 error spec.steps[1].needs: steps need each other in a circle: b -> c -> b; "
             "remove one of these needs or uses of outputs"],
            id="a circle",
        ),
        pytest.param(
            STEP + "  timeout: 5 minutes",
            ["9:5 error spec.steps[0].timeout: '5 minutes' is not of the form ^([0-9]+(s|m|h|d))+$"],
            id="a duration in words",
        ),
        pytest.param(
            "steps: []",
            ["5:3 error spec.steps: 0 items; at least 1 must be there"],
            id="no step",
        ),
        pytest.param(
            STEP + "  resources: {limits: {memory: 1.5}}",
            [
                "9:26 error spec.steps[0].resources.limits[memory]: 1.5 is not a whole number or a text; "
                "write a fraction in quotes"
            ],
            id="a fraction where the API server takes none",
        ),
    ],
)  # fmt: skip
def test_a_pipeline(body: str, expected: list[str]) -> None:
    assert told(pipeline(body)) == expected


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        ('[sh, -c, "echo $(params.day)"]', 'write "$DATAOPS_PARAM_DAY", which every step has'),
        ('[/bin/bash, -euo, pipefail, -c, "echo $(params.day)"]', 'write "$DATAOPS_PARAM_DAY", which every step has'),
        ('[busybox, sh, -ec, "echo $(run.name)"]', 'write "$DATAOPS_RUN", which every step has'),
        (
            '[env, A=b, sh, -c, "echo $(steps.first.outputs.rows)"]',
            'give it a variable, env: [{name: VALUE, value: $(steps.first.outputs.rows)}], and write "$VALUE"',
        ),
        ('[sh, -c, "echo $1", --, $(params.day)]', None),
        ('[sh, -c, "echo $(date) $$(params.day)"]', None),
        ("[python, -c, 'print(1)', $(params.day)]", None),
        ("[sh, run.sh, -c, $(params.day)]", None),
        ("[echo, $(params.day)]", None),
    ],
)
def test_a_template_inside_shell_text_is_warned_of_with_its_cure(command: str, cure: str | None) -> None:
    steps = f"""
    parameters: [{{name: day}}]
    steps:
    - {{name: first, image: i, outputs: [{{name: rows}}]}}
    - name: second
      image: i
      command: {command}
    """
    found = lint(pipeline(steps))
    assert [one.severity for one in found] == (["warning"] if cure else [])
    if cure:
        assert found[0].line == 10
        assert found[0].message.endswith(cure)


def test_a_script_takes_no_templates() -> None:
    steps = "parameters: [{name: day}]\nsteps:\n- {name: a, image: i, script: 'load $(params.day) $(date) $(run)'}"
    (found,) = lint(pipeline(steps))
    assert (found.severity, found.path) == ("warning", "spec.steps[0].script")
    assert found.message == (
        '$(params.day) is not filled in: a script takes no templates; write "$DATAOPS_PARAM_DAY", which every step has'
    )


def test_a_run_brings_no_decisions_with_it() -> None:
    run = """
    apiVersion: dataops.dev/v1alpha1
    kind: PipelineRun
    metadata: {name: r%s}
    spec: {pipeline: orders, approvals: [{step: ok, decision: Approve}]}
    """
    assert told(run % "") == [
        "4:26 error spec.approvals: a decision is given while its step asks, and refused before; remove it"
    ]
    assert told(run % ", uid: 7f3c") == []


def test_of_two_objects_with_one_name_in_a_file_the_second_is_warned_of() -> None:
    twice = pipeline(STEP) + "\n---" + pipeline(STEP)
    found = told(twice)
    assert len(found) == 1
    assert "warning metadata.name: Pipeline 'orders' is in this file already, at line 1, which this one" in found[0]
    assert told(pipeline(STEP), pipeline(STEP)) == [], "a base and its overlay have the same names"


def test_the_shell_text_may_stand_in_args() -> None:
    steps = "parameters: [{name: day}]\nsteps:\n- {name: a, image: i, command: [sh], args: [-c, 'echo $(params.day)']}"
    (found,) = lint(pipeline(steps))
    assert (found.severity, found.path) == ("warning", "spec.steps[0].args[1]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "a: [1",
            ["1:6 error : not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"],
            id="no YAML",
        ),
        pytest.param("- 1", ["1:1 error : not an object, which has apiVersion, kind, metadata and spec"], id="a list"),
        pytest.param(
            "{apiVersion: dataops.dev/v1alpha1, kind: Pipelin, metadata: {name: a}}",
            ["1:36 error kind: no kind 'Pipelin' in dataops.dev; did you mean 'Pipeline'?"],
            id="a kind that there is not",
        ),
        pytest.param(
            "{apiVersion: dataops.dev/v1, kind: Pipeline, metadata: {name: a}}",
            ["1:2 error apiVersion: dataops.dev/v1 is not served; write dataops.dev/v1alpha1"],
            id="a version that there is not",
        ),
        pytest.param("{apiVersion: v1, kind: ConfigMap, data: {on: x}}", [
            '1:42 error data.on: a bare on is read as true by YAML 1.1, and so by kubectl; write "on" in quotes'
        ], id="YAML's traps in objects of others, too"),
        pytest.param(
            "{apiVersion: dataops.dev/v1alpha1, kind: Pipeline, spec: {steps: [{name: a, image: i}]}}",
            ["1:1 error metadata.name: no name; give one"],
            id="no name",
        ),
        pytest.param(
            "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]\nf: &f [*e, *e]\n"
            "g: &g [*f, *f]\nh: &h [*g, *g]\ni: &i [*h, *h]\nj: &j [*i, *i]\nk: &k [*j, *j]\nl: &l [*k, *k]\n"
            "m: &m [*l, *l]\nnn: &n [*m, *m]\no: &o [*n, *n]\np: &p [*o, *o]\nq: [*p, *p]",
            ["1:1 error : more than 200000 values, aliases counted; write less of it"],
            id="aliases of aliases",
        ),
        pytest.param("a: &a [*a]", ["1:1 error : nested deeper than 100 levels"], id="a list that holds itself"),
    ],
)  # fmt: skip
def test_what_is_no_object_of_ours(text: str, expected: list[str]) -> None:
    assert told(text) == expected


def test_every_document_and_every_item_of_a_list_is_checked_at_its_own_line() -> None:
    text = """
    apiVersion: dataops.dev/v1alpha1
    kind: PipelineRun
    metadata: {name: one}
    spec: {pipline: a}
    ---
    apiVersion: v1
    kind: List
    items:
    - apiVersion: dataops.dev/v1alpha1
      kind: PipelineRun
      metadata: {name: two}
      spec:
        pipeline: a
        logicalDate: "2013-02-30T00:00:00Z"
    """
    assert [(one.line, one.name, one.path) for one in lint(text)] == [
        (4, "one", "spec.pipeline"),
        (4, "one", "spec.pipline"),
        (14, "two", "spec.logicalDate"),
    ]


ENVIRONMENT = """
apiVersion: dataops.dev/v1alpha1
kind: Environment
metadata: {name: prod, namespace: shop}
spec:
  namespace: shop-prod
  parameters: [{name: bucket, value: "gold"}]
"""
IN_PROD = """
apiVersion: dataops.dev/v1alpha1
kind: Pipeline
metadata: {name: orders, namespace: shop}
spec:
  parameters: [{name: day, type: Date}, {name: bucket}]
  steps:
  - name: land
    image: img:1
    command: [land, $(env.params.BUCKET)]
"""
RUN = """
apiVersion: dataops.dev/v1alpha1
kind: PipelineRun
metadata: {name: orders-1, namespace: shop-prod}
spec:
  pipeline: orders
  parameters:
  - {name: day, value: "2013-02-30"}
"""


def test_a_run_is_held_against_its_pipeline_in_its_environment() -> None:
    (found,) = lint(ENVIRONMENT, IN_PROD, RUN)
    assert (found.file, found.line, found.path) == ("2.yaml", 7, "spec.parameters[0].value")
    assert found.message == 'day: "2013-02-30" is not a date; write it as 2013-02-09'


def test_a_pipeline_that_does_not_fit_the_environment_of_a_run_is_told_where_the_pipeline_says_it() -> None:
    (found,) = lint(ENVIRONMENT, IN_PROD, RUN.replace("30", "09"))
    assert (found.file, found.line, found.path) == ("1.yaml", 9, "spec.steps[0].command[1]")
    assert "environment shop/prod has no parameter 'BUCKET'; there are: bucket" in found.message


def test_what_an_environment_may_give_that_is_not_in_the_files_is_not_missed() -> None:
    at_home = RUN.replace("shop-prod", "shop").replace("30", "09")
    assert lint(IN_PROD, at_home) == []
    assert [one.message for one in lint(IN_PROD, at_home.replace("day,", "dya,"))] == [
        "no parameter 'dya'; the pipeline has: bucket, day"
    ]


def test_a_branch_is_held_against_its_parent_where_that_is_in_the_files() -> None:
    branch = ENVIRONMENT.replace("prod", "dev") + "  from: prod\n  podSecurity: baseline\n"
    assert lint(branch) == []
    assert [one.path for one in lint(branch, ENVIRONMENT)] == ["spec.podSecurity"]


def test_each_kind_has_rules_of_its_own() -> None:
    assert set(CHECKS) == {kind["kind"] for kind in KINDS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{apiVersion: dataops.dev/v1alpha1, kind: PipelineRun, metadata: {name: A_b}, spec: {pipeline: a}}",
            (1, "metadata.name", "a run's name is a DNS label of at most 63 characters, since"),
        ),
        (
            "{apiVersion: dataops.dev/v1alpha1, kind: Environment, metadata: {name: e}, spec: {targets: [{name: t}]}}",
            (1, "spec.targets[0]", "give exactly one of"),
        ),
    ],
)
def test_the_rules_of_the_schema_that_the_api_server_would_evaluate(text: str, expected: tuple[int, str, str]) -> None:
    (found,) = lint(text)
    assert (found.line, found.path) == expected[:2]
    assert found.message.startswith(expected[2])


def test_every_rule_of_every_kind_can_be_evaluated_here() -> None:
    def rules(schema: Schema) -> Iterator[str]:
        yield from (one["rule"] for one in schema.get("x-kubernetes-validations", ()))
        inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
        for one in inner:
            if isinstance(one, dict):
                yield from rules(one)

    found = [rule for kind in KINDS for rule in rules(schema_of(kind["kind"]) or {}) if "oldSelf" not in rule]
    assert len(found) > 10
    left: list[str] = []
    for rule in found:
        try:
            compile_condition(rule, ("self",))
        except ExpressionError:
            left.append(rule)
    assert left == ["isCIDR(self.cidr)"]  # which core/environment_rules.py holds in its own words


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Pipeline", {"parameters": [{"name": "a", "type": "Array", "default": ["AA", ["DL"]]}]}),
        ("Pipeline", {"steps": [{"name": "a", "image": "i", "forEach": {"items": [1, {"x": [2]}]}}]}),
        ("Pipeline", {"steps": [{"name": "a", "template": {"name": "t"}, "with": [{"name": "c", "value": [1]}]}]}),
        ("PipelineRun", {"pipeline": "p", "parameters": [{"name": "a", "value": [1, 2]}]}),
    ],
)
def test_a_list_where_any_json_may_stand_has_no_rules(kind: str, spec: dict[str, Any]) -> None:
    assert list(schema.rule_problems(kind, {"metadata": {"name": "x"}, "spec": spec})) == []


def test_a_rule_about_a_field_with_a_reserved_name() -> None:
    (found,) = schema.rule_problems("Environment", environment(kind="User", namespace="a"))
    assert found.path == "spec.access[0].subjects[0].namespace"
    assert list(schema.rule_problems("Environment", environment(kind="ServiceAccount", namespace="a"))) == []


def environment(**subject: str) -> dict[str, Any]:
    access = [{"role": "run", "subjects": [{"name": "x", **subject}]}]
    return {"metadata": {"name": "e"}, "spec": {"access": access}}


# Step templates.

TEMPLATE = """
apiVersion: dataops.dev/v1alpha1
kind: StepTemplate
metadata: {name: land}
spec:
  parameters: [{name: day, type: Date}]
  image: img:1
  command: [land, $(params.day)]
  outputs: [{name: rows, type: Integer}]
"""
USES = """
steps:
- name: land
  template: {name: land}
  with:
  - {name: day, value: "2013-02-09"}
"""


def test_a_template_in_the_files_is_held_against_those_who_use_it() -> None:
    assert told(TEMPLATE, pipeline(USES)) == []
    assert told(TEMPLATE, pipeline(USES.replace("2013-02-09", "soon"))) == [
        '9:19 error spec.steps[0].with[0].value: day: "soon" is not a date; write it as 2013-02-09'
    ]
    wrong = pipeline(USES + "- name: show\n  image: img:1\n  command: [show, $(steps.land.outputs.row)]")
    (found,) = told(TEMPLATE, wrong)
    assert "step 'land' declares no output 'row'; did you mean 'rows'?" in found


def test_a_template_that_is_not_in_the_files_may_well_be_in_the_cluster() -> None:
    shown = "- name: show\n  image: img:1\n  command: [show, $(steps.land.outputs.rows)]"
    assert told(pipeline(USES + shown)) == []


def test_a_template_is_held_against_its_own_rules() -> None:
    assert told(TEMPLATE.replace("$(params.day)", "$(params.dya)")) == [
        "7:19 error spec.command[1]: $(params.dya): no parameter 'dya'; did you mean 'day'?"
    ]
    (found,) = told(TEMPLATE.replace("[land, $(params.day)]", '[sh, -c, "land $(params.day)"]'))
    assert found.startswith("7:")
    assert "warning spec.command[2]: $(params.day) is pasted into shell text" in found


OTHER = """
apiVersion: dataops.dev/v1alpha1
kind: Pipeline
metadata: {name: other}
spec:
  parameters: [{name: day}]
  steps: [{name: a, image: i, outputs: [{name: found}]}]
  outputs: [{name: rows, value: $(steps.a.outputs.found)}]
"""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("{pipeline: {name: other, parameters: [{name: day, value: x}]}, outputs: [{name: rows}]}", []),
        ("{pipeline: {name: elsewhere, parameters: [{name: x}]}}", []),
        ("{pipeline: {name: other, revision: other-1, parameters: [{name: x}]}}", []),
        (
            "{pipeline: {name: other, parameters: [{name: dya}]}}",
            ["spec.steps[0].pipeline.parameters[0].name: pipeline 'other' has no parameter 'dya'; did you mean 'day'?"],
        ),
        (
            "{pipeline: {name: other}, outputs: [{name: row}]}",
            ["spec.steps[0].outputs[0].name: pipeline 'other' tells no output 'row'; did you mean 'rows'?"],
        ),
        (
            "{pipeline: {name: orders}}",
            [
                "spec.steps[0].pipeline.name: pipeline 'orders' cannot run itself, whatever the step's condition; "
                "remove the step"
            ],
        ),
    ],
)
def test_a_run_of_another_pipeline_is_held_against_that_where_it_is_in_the_files(
    call: str, expected: list[str]
) -> None:
    step = f"steps: [{{name: run-it, {call[1:]}]"
    assert [f"{one.path}: {one.message}" for one in lint(pipeline(step), OTHER)] == expected


def test_pipelines_that_run_each_other_in_a_circle_are_told_at_each() -> None:
    back = OTHER.replace("steps: [", "steps: [{name: b, pipeline: {name: orders}}, ")
    found = lint(pipeline("steps: [{name: b, pipeline: {name: other}}]"), back)
    assert [(one.file, one.message.partition(";")[0]) for one in found] == [
        ("0.yaml", "pipelines run each other in a circle: orders -> other -> orders"),
        ("1.yaml", "pipelines run each other in a circle: other -> orders -> other"),
    ]


def test_a_pipeline_that_runs_itself_is_told_with_its_line_whatever_its_condition() -> None:
    steps = (
        "steps:\n- {name: a, image: i}\n- name: b\n  when: params.more\n  pipeline: {name: orders, revision: orders-1}"
    )
    assert told(pipeline("parameters: [{name: more, type: Boolean}]\n" + steps)) == [
        "10:16 error spec.steps[1].pipeline.name: pipeline 'orders' cannot run itself, whatever the step's condition; "
        "remove the step"
    ]


def test_a_circle_that_a_condition_may_break_is_warned_of() -> None:
    back = OTHER.replace("steps: [", "steps: [{name: b, when: params.day != '', pipeline: {name: orders}}, ")
    found = lint(pipeline("steps: [{name: b, pipeline: {name: other}}]"), back)
    assert [(one.file, one.severity, one.message.partition(";")[0]) for one in found] == [
        ("0.yaml", "warning", "a run fails in which all conditions on this way hold: orders -> other -> orders"),
        ("1.yaml", "warning", "a run fails in which all conditions on this way hold: other -> orders -> other"),
    ]
