"""Small objects of each kind, for cases of the CRDs' rules."""

from typing import Any

from tests.builders import a_pipeline, a_run
from tests.harness.kinds import ENVIRONMENTS, TEMPLATES

Object = dict[str, Any]


def pipeline(name: str = "p", **fields: Any) -> Object:
    return a_pipeline(name).step("a", **fields).build()


def with_parameter(type_: str | None, **fields: Any) -> Object:
    body = pipeline()
    body["spec"]["parameters"] = [{"name": "p", **({"type": type_} if type_ else {}), **fields}]
    return body


def with_workspace(**fields: Any) -> Object:
    return a_pipeline("p").step("a").having(workspace=fields).build()


def with_concurrency(**fields: Any) -> Object:
    return a_pipeline("p").step("a").having(concurrency={"limit": 1, **fields}).build()


def run(name: str = "r", **fields: Any) -> Object:
    return a_run(name).having(**fields).build()


def environment(name: str = "e", **fields: Any) -> Object:
    return {
        "apiVersion": ENVIRONMENTS.group_version,
        "kind": "Environment",
        "metadata": {"name": name},
        "spec": {key.rstrip("_"): value for key, value in fields.items()},
    }


def with_target(**fields: Any) -> Object:
    return environment(targets=[{"name": "t", **fields}])


def with_peer(**fields: Any) -> Object:
    return environment(network={"egress": [{"to": [fields]}]})


def with_subject(**fields: Any) -> Object:
    return environment(access=[{"role": "View", "subjects": [{"kind": "User", "name": "jane", **fields}]}])


def with_credentials(**vault: Any) -> Object:
    return with_target(postgres={"host": "pg", "database": "dwh", "credentials": {"vault": vault}})


def with_secret(**vault: Any) -> Object:
    return a_pipeline("p").step("a").having(secrets=[{"name": "s", "vault": vault}]).build()


PG: Object = {"host": "pg", "database": "dwh"}
S3: Object = {"endpoint": "https://s3.example", "bucket": "lake"}
SEALED: Object = {"key": "k", "ciphertext": "vault:v1:x"}
P, R, E, T = "Pipeline", "PipelineRun", "Environment", "StepTemplate"


def template(name: str = "t", **fields: Any) -> Object:
    spec = {"image": "img", **fields}
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": TEMPLATES.group_version, "kind": T, "metadata": {"name": name}, "spec": spec}


OF_A_JOB: Object = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "when": "object.status.succeeded > 0"}


RAY: Object = {"manifest": {"apiVersion": "ray.io/v1", "kind": "RayJob"}, "successWhen": "object.status.done"}


def jobless(**fields: Any) -> Object:
    return pipeline(**{"image": None, "command": None, **fields})


WITH: Object = {"with": [{"name": "a"}]}


def templated(**fields: Any) -> Object:
    return pipeline(image=None, command=None, template={"name": "t"}, **fields)


def of_template(type_: str | None, **fields: Any) -> Object:
    return template(parameters=[{"name": "p", **({"type": type_} if type_ else {}), **fields}])
