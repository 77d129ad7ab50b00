"""Checks the chart: Helm's lint, and every rendered object against the API server's own schemas.

    python3 tools/chartcheck.py                    # starts a control plane once, to get the schemas
    python3 tools/chartcheck.py --kubeconfig PATH  # takes them from the API server named

For each file of values in the chart's ci/ folder: helm lint --strict, helm template, kubeconform -strict; for
crds/ and the examples the last, after kubectl kustomize. Nothing is downloaded: the schemas are what the API
server publishes under /openapi/v3, cached by its version; those of our own kinds come out of crds/ each time.
The kinds of the Prometheus operator are skipped: no API server knows them before somebody installs them. promtool holds
the alerts instead, and plays the series of ci/alerts.test.yaml to them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from localcluster import binaries
from localcluster.controlplane import ControlPlane
from localcluster.errors import ClusterError
from localcluster.state import cache_home

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "dataops-operator"
CRDS = ROOT / "crds"
ALERTS = CHART / "ci" / "alerts.test.yaml"
NAMESPACE = "dataops-system"
SKIPPED = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule"))
CONVERTER = 1
"""Part of the cache's key: raise it when the conversion below changes."""

_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_METADATA_FILE = "metadata.json"
_GVK = "x-kubernetes-group-version-kind"
_OPEN = "x-kubernetes-preserve-unknown-fields"

Schema = dict[str, Any]


class CheckError(Exception):
    """A check that did not pass; the message holds what the tool said."""


def helm() -> Path:
    """The pinned helm: beside the cluster's programs where they are built, else built alone."""
    for group in ("kubernetes", "clients"):
        program = binaries.folder(group) / "helm"
        if program.is_file():
            return program
    return binaries.ensure("clients") / "helm"


def strict(schema: Any) -> Any:
    """The JSON schema of an OpenAPI schema, in which unknown fields are errors.

    Objects that list their properties and do not say that others may stand beside them are closed; references
    lead into the same file.
    """
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            # Names of fields, not keywords: a field may well be called "$ref" or "properties".
            out[key] = {name: strict(field) for name, field in value.items()}
        elif key == "$ref":
            out[key] = value.replace("#/components/schemas/", "#/definitions/")
        elif key in ("default", "enum", "example") or key.startswith("x-kubernetes-"):
            if key == "enum":
                out[key] = value
        else:
            out[key] = strict(value)
    if "properties" in out and not schema.get(_OPEN):
        out.setdefault("additionalProperties", False)
    return out


def references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a converted schema refers to."""
    if isinstance(schema, list):
        for item in schema:
            yield from references(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix("#/definitions/")
            else:
                yield from references(value)


def with_definitions(schema: Schema, known: Mapping[str, Schema]) -> Schema:
    """The schema as a file of its own: with every definition that it reaches."""
    found: dict[str, Schema] = {}
    waiting = list(references(schema))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = known[name]
            waiting += references(known[name])
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "definitions": found}


def file_name(group: str, version: str, kind: str) -> str:
    """How kubeconform calls a kind's file by `{{ .ResourceKind }}{{ .KindSuffix }}.json`."""
    return "-".join(part.lower() for part in (kind, group.split(".")[0], version) if part) + ".json"


def write_builtin(documents: list[Schema], folder: Path) -> int:
    """Write a schema for every kind in the API server's OpenAPI v3 documents; returns how many."""
    known: dict[str, Schema] = {}
    kinds: dict[str, str] = {}
    for document in documents:
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            known[name] = strict(schema)
            tags = schema.get(_GVK, ())
            # Options of requests are tagged with every group there is; a kind of objects has one tag.
            if len(tags) == 1:
                kinds[file_name(tags[0]["group"], tags[0]["version"], tags[0]["kind"])] = name
    for file, name in kinds.items():
        whole = with_definitions({"$ref": f"#/definitions/{name}"}, known)
        (folder / file).write_text(json.dumps(whole))
    metadata = with_definitions({"$ref": f"#/definitions/{_METADATA}"}, known)
    (folder / _METADATA_FILE).write_text(json.dumps(metadata))
    return len(kinds)


def write_custom(builtin: Path, folder: Path) -> None:
    """Write a schema for every kind that crds/ defines, with the metadata that all objects have."""
    metadata = json.loads((builtin / _METADATA_FILE).read_text())
    text = {"type": "string"}
    for path in sorted(CRDS.glob("*_*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            fields = {"apiVersion": text, "kind": text, "metadata": {"$ref": metadata["$ref"]}}
            schema["properties"] = schema.get("properties", {}) | fields
            schema["definitions"] = metadata["definitions"]
            (folder / file_name(spec["group"], version["name"], spec["names"]["kind"])).write_text(json.dumps(schema))


def fetch(kubeconfig: Path) -> tuple[str, list[Schema]]:
    """The version of an API server and its OpenAPI v3 documents."""
    kubectl = [str(binaries.ensure("kubernetes") / "kubectl"), f"--kubeconfig={kubeconfig}", "get", "--raw"]
    version = json.loads(run([*kubectl, "/version"]))["gitVersion"]
    paths = json.loads(run([*kubectl, "/openapi/v3"]))["paths"]
    # Kinds of custom resources are left out: this server's may be of another state of the tree.
    urls = [entry["serverRelativeURL"] for path, entry in paths.items() if path.startswith("api")]
    return version, [json.loads(run([*kubectl, url])) for url in sorted(urls) if "dataops.dev" not in url]


def builtin_schemas(kubeconfig: Path | None) -> Path:
    """The folder of Kubernetes' own schemas; made once for a version.

    Args:
        kubeconfig: of the API server to ask; None takes the cached ones of the pinned version, or starts a
            control plane to get them.
    """
    cached = cache_home() / "schemas" / f"{binaries.KUBERNETES_VERSION}-{CONVERTER}"
    if kubeconfig is None and cached.is_dir():
        return cached
    if kubeconfig is None:
        with ControlPlane.start("chartcheck", audit=False) as control_plane:
            return builtin_schemas(control_plane.kubeconfig)
    version, documents = fetch(kubeconfig)
    target = cached.with_name(f"{version}-{CONVERTER}")
    scratch = target.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    count = write_builtin(documents, scratch)
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)
    print(f"schemas of {count} kinds from Kubernetes {version}, kept in {target}")
    return target


def run(command: list[str], stdin: str | None = None) -> str:
    """The standard output of a command.

    Raises:
        CheckError: the command ended with an error.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
        raise CheckError(f"`{' '.join([Path(command[0]).name, *command[1:]])}` failed:\n{said}")
    return done.stdout


def conform(manifests: str, schemas: list[Path]) -> str:
    """Check manifests against the schemas; returns a summary for people.

    Raises:
        CheckError: an object breaks its schema, or its kind is not known.
    """
    places = [f"-schema-location={folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json" for folder in schemas]
    program = str(binaries.ensure("checks") / "kubeconform")
    command = [program, "-strict", "-summary", "-output=json", f"-skip={','.join(SKIPPED)}", *places]
    summary = json.loads(run(command, stdin=manifests))["summary"]
    if not summary["valid"]:
        raise CheckError("kubeconform found no object to check")
    return f"{summary['valid']} objects valid, {summary['skipped']} skipped"


def alerts(manifests: str, scratch: Path) -> str | None:
    """Check the alerts among manifests by promtool, and play series to them; None where there are none.

    Raises:
        CheckError: a rule is none, or does not fire when it should, or does when it should not.
    """
    made = [one for one in yaml.safe_load_all(manifests) if one and one["kind"] == "PrometheusRule"]
    if not made:
        return None
    program = str(binaries.ensure("checks") / "promtool")
    rules, played = scratch / "rules.yaml", scratch / ALERTS.name
    rules.write_text(yaml.safe_dump({"groups": [group for one in made for group in one["spec"]["groups"]]}))
    played.write_text(ALERTS.read_text())
    run([program, "check", "rules", "--lint=all", "--lint-fatal", str(rules)])
    run([program, "test", "rules", str(played)])
    count = sum(len(group["rules"]) for one in made for group in one["spec"]["groups"])
    return f"{count} alerts valid and played"


def check(kubeconfig: Path | None) -> None:
    """Run all checks and print a line for each.

    Raises:
        CheckError: the first one that did not pass.
    """
    program = str(helm())
    kubectl = str(binaries.ensure("kubernetes") / "kubectl")
    builtin = builtin_schemas(kubeconfig)
    with tempfile.TemporaryDirectory() as custom:
        write_custom(builtin, Path(custom))
        schemas = [builtin, Path(custom)]
        for values in sorted((CHART / "ci").glob("*-values.yaml")):
            options = [str(CHART), f"--namespace={NAMESPACE}", f"--values={values}"]
            options.append(f"--kube-version={binaries.KUBERNETES_VERSION}")
            run([program, "lint", "--strict", *options])
            rendered = run([program, "template", "dataops-operator", *options])
            print(f"{values.name}: lint clean, {conform(rendered, schemas)}")
            if (played := alerts(rendered, Path(custom))) is not None:
                print(f"{values.name}: {played}")
        for folder in [
            CRDS,
            *sorted(path.parent for path in (ROOT / "examples").glob("*/kustomization.yaml")),
        ]:
            built = run([kubectl, "kustomize", str(folder)])
            # Runs are not part of a base: they stand beside it, to be created by hand.
            beside = [path.read_text() for path in sorted(folder.glob("run*.yaml"))]
            built = "\n---\n".join([built, *beside])
            print(f"{folder.relative_to(ROOT)}: {conform(built, schemas)}")


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="chartcheck", description=__doc__.partition("\n")[0])
    parser.add_argument("--kubeconfig", type=Path, help="take the schemas from this API server")
    try:
        check(parser.parse_args().kubeconfig)
    except (CheckError, ClusterError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
