from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import PipelineBuilder, a_pipeline

from dataops_operator.api.pipeline import PipelineSpec
from dataops_operator.core.revision import content, controller_revision, load_revision, make_revision, read_revision


def flights(**fields: Any) -> PipelineBuilder:
    return a_pipeline().parameter("day", "Date").step("land").step("conform", needs=["land"], **fields)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(a_pipeline().having(**reordered(flights().raw)), id="fields in another order"),
        pytest.param(flights(retry=None), id="a field that is not there"),
        pytest.param(
            a_pipeline()
            .parameter("day", "Date", required=False, default=None)
            .step("land")
            .step("conform", needs=["land"]),
            id="defaults of a parameter spelt out",
        ),
        pytest.param(flights().having(owner=None), id="an explicit null"),
        pytest.param(flights().having(history={"succeeded": 3, "ttl": "7d"}), id="how long its runs stay"),
    ],
)
def test_the_same_content_is_the_same_revision(same: PipelineBuilder) -> None:
    assert same.revision().name == flights().revision().name


def test_defaults_of_a_retry_spelt_out_are_the_same_revision() -> None:
    short = flights(retry={"limit": 1})
    long = flights(
        retry={
            "limit": 1,
            "on": ["Infrastructure", "Failure"],
            "backoff": {"initial": "10s", "factor": 2, "max": "10m"},
        }
    )
    assert short.revision().name == long.revision().name
    assert flights().having(defaults={"startTimeout": "5m", "image": "x"}).revision().name == (
        flights().having(defaults={"image": "x"}).revision().name
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(flights(timeout="1m"), id="another field"),
        pytest.param(flights(command=["false"]), id="another command"),
        pytest.param(flights(command=["true", ""]), id="one more argument, even an empty one"),
        pytest.param(flights(retry={"limit": 0}), id="an own retry policy instead of the defaults'"),
        pytest.param(flights().having(defaults={"image": "x"}), id="another default"),
        pytest.param(flights().having(owner="data"), id="another owner"),
        pytest.param(flights().step("report"), id="another step"),
        pytest.param(flights().parameter("n", "Integer", default=0), id="another parameter, with a zero for default"),
        pytest.param(
            a_pipeline().parameter("day", "Date").step("conform", needs=["land"]).step("land"), id="another order"
        ),
        pytest.param(flights().having(workspace={"size": "1Gi"}), id="a workspace"),
    ],
)
def test_any_change_is_another_revision(other: PipelineBuilder) -> None:
    assert other.revision().name != flights().revision().name


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, True), (0, False), ([1], [2]), ({"a": None}, {}), ("", None), (0, None)]
)
def test_values_that_only_look_alike_are_other_revisions(one: Any, other: Any) -> None:
    names = {a_pipeline().parameter("p", default=value).step("a").revision().name for value in (one, other)}
    assert len(names) == 2


def test_another_pipelines_revision_of_the_same_content_has_another_name() -> None:
    assert make_revision("a", flights().spec()).name.startswith("a-")
    assert make_revision("a", flights().spec()).name != make_revision("b", flights().spec()).name


def test_a_name_fits_a_label_for_the_longest_pipeline() -> None:
    assert len(make_revision("p" * 52, flights().spec()).name) <= 63


def test_a_controller_revision_belongs_to_its_pipeline_and_keeps_the_content() -> None:
    revision = flights().revision()
    made = controller_revision(revision, "flights", "uid-1", 3)
    assert made["metadata"]["name"] == revision.name
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Pipeline", "flights", "uid-1", True)
    assert "blockOwnerDeletion" not in owner, "that would need a right on the Pipeline's finalizers"
    stored = orjson.loads(orjson.dumps(made["data"]["spec"]))
    assert load_revision(revision.name, PipelineSpec.model_validate(stored)) == revision
    assert made["revision"] == 3


def test_a_revision_says_whether_its_steps_share_pods_whatever_stands_where_unset() -> None:
    unset, said = flights().having(fuse=None), flights().having(fuse="Auto")
    assert unset.revision() == said.revision()
    assert unset.revision().shared == (("land", "conform"),)
    assert content(unset.spec())["fuse"] == "Auto"
    assert flights().having(fuse="Never").revision().name != said.revision().name


def test_one_that_was_kept_before_they_did_by_default_stays_as_it_was() -> None:
    kept = content(flights().having(fuse=None).spec())
    del kept["fuse"]
    before = read_revision("flights-1", {"spec": kept})
    assert (before.shared, before.spec.fuse) == ((), "Never")
    assert read_revision("flights-2", {"spec": kept | {"fuse": "Auto"}}).shared == (("land", "conform"),)


def test_a_step_takes_from_the_defaults_what_it_does_not_say() -> None:
    revision = (
        a_pipeline()
        .having(defaults={"image": "shared", "retry": {"limit": 2}})
        .step("own", image="mine", retry={"limit": 1})
        .step("plain", image=None)
        .revision()
    )
    own, plain = revision.steps["own"], revision.steps["plain"]
    assert (revision.image(own), revision.image(plain)) == ("mine", "shared")
    assert (revision.retry(own).limit, revision.retry(plain).limit) == (1, 2)
    assert a_pipeline().step("a").revision().retry(own.model_copy(update={"retry": None})).limit == 0


TEXT = st.text(max_size=5)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
RETRY = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.integers(0, 3),
        "on": st.lists(st.sampled_from(["Failure", "Deadline"]), min_size=1, max_size=2, unique=True),
        "backoff": st.fixed_dictionaries({}, optional={"factor": st.integers(1, 3), "initial": st.just("1s")}),
    },
)
SPECS = st.fixed_dictionaries(
    {
        "steps": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("abc")},
                optional={
                    "image": st.just("x"),
                    "args": st.lists(TEXT, min_size=1, max_size=2),
                    "env": st.lists(
                        st.fixed_dictionaries({"name": st.just("N")}, optional={"value": TEXT}), max_size=1
                    ),
                    "outputs": st.lists(
                        st.fixed_dictionaries(
                            {"name": st.just("n")}, optional={"type": st.sampled_from(["String", "Integer"])}
                        ),
                        max_size=1,
                    ),
                    "retry": RETRY,
                    "resources": st.fixed_dictionaries(
                        {}, optional={"limits": st.dictionaries(st.just("cpu"), st.integers(1, 3) | st.just("500m"))}
                    ),
                    "workspace": st.sampled_from(["Mount", "None"]),
                },
            ),
            min_size=1,
            max_size=3,
        )
    },
    optional={
        "parameters": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("p")}, optional={"default": JSON, "enum": st.lists(JSON, min_size=1, max_size=2)}
            ),
            max_size=1,
        ),
        "defaults": st.fixed_dictionaries({}, optional={"retry": RETRY, "startTimeout": st.sampled_from(["5m", "6m"])}),
        "workspace": st.fixed_dictionaries({}, optional={"size": st.just("1Gi")}),
    },
)


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _said(one) for key, one in value.items() if one not in (None, [])}
    return [_said(one) for one in value] if isinstance(value, list) else value


@given(SPECS)
def test_what_is_stored_gives_back_the_spec(raw: dict[str, Any]) -> None:
    spec = PipelineSpec.model_validate(raw)
    stored = orjson.loads(orjson.dumps(content(spec)))
    again = PipelineSpec.model_validate(stored)
    assert content(again) == content(spec)
    # An empty list comes back as none, which says the same; all else comes back as it was.
    assert _said(again.model_dump()) == _said(spec.model_dump())


@given(SPECS)
def test_the_order_of_fields_does_not_matter(raw: dict[str, Any]) -> None:
    one, other = (make_revision("p", PipelineSpec.model_validate(body)) for body in (raw, reordered(raw)))
    assert one.name == other.name


def test_an_empty_list_is_the_same_revision_as_none() -> None:
    said = a_pipeline().step("a", needs=[], env=[], outputs=[])
    assert make_revision("p", said.spec()).name == make_revision("p", a_pipeline().step("a").spec()).name
