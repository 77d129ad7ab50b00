"""How a step gets its secrets: volumes, mounts and variables of its pod, in both modes of delivery.

Mode Secret: the run's one Secret has the keys `<secret>.<file>`; a pod gets of it what its steps use, as files of mode
0440 (by fsGroup; 0400 would be root's), or as variables.

Mode Pod: the init container `dataops-secrets` alone sees a token for Vault. It runs `python3 -m
dataops_operator.vault.agent`, reads `/dataops/agent.json`, logs in, writes `/dataops/secrets/<secret>/<file>` with mode
0400 into memory, and says in its termination message what must be taken back later, and no value:
`{"accessor": ..., "ttl": 600, "renewable": true, "leases": [{"id": ..., "ttl": 3600, "renewable": true}],
"versions": [{"name": "api", "version": 3, "leased": true}]}`. One that cannot ends with a code that is not 0 and
`{"reason": "VaultForbidden", "message": ..., "accessor": ...}`.

`/dataops/agent.json` is `{"server": {...}, "role": ..., "token": <path>, "directory": "/dataops/secrets",
"waitSeconds": <how long to try again while Vault is not available>, "secrets": [{"name": ..., "vault": {...},
"keys": [...], "files": [...]}]}`, the secrets as the API has them, with their templates filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from ..api.base import parse_duration
from ..api.environment import Vault
from ..api.secret import Credentials
from ..api.step import Step
from .credentials import Agent, Armed, order, wants
from .inputs import Inputs
from .names import AGENT_ANNOTATION
from .names import AGENT_CONTAINER as AGENT

DIRECTORY: Final = "/dataops/secrets"
_TOKEN: Final = "/var/run/dataops-vault"  # noqa: S105 - a path
_TOKEN_SECONDS: Final = 600
"""Life of the token that a pod logs in with: the shortest that Kubernetes gives."""
_MEMORY: Final = "2Mi"


def secret_key(name: str, file: str) -> str:
    """Key of the run's Secret."""
    return f"{name}.{file}"


def secret_mounts(inputs: Inputs, step: Step, armed: Armed | None) -> list[dict[str, Any]]:
    """Where a step's container finds its secrets as files."""
    if armed is None:
        return []
    out = []
    directories = {one.name: one.as_ for one in step.secrets or () if one.as_}
    for name, variables in wants(inputs, step).items():
        if variables:
            continue
        mount = {"mountPath": f"{DIRECTORY}/{directories.get(name, name)}", "readOnly": True}
        if armed.agent is not None:
            out.append({"name": AGENT, "subPath": name} | mount)
        else:
            out.append({"name": _volume(inputs, name)} | mount)
    return out


def secret_variables(inputs: Inputs, step: Step, armed: Armed | None) -> list[dict[str, Any]]:
    """The environment variables of a step that come from its secrets; in mode Secret alone."""
    if armed is None or armed.secret is None:
        return []
    return [
        {
            "name": one.name,
            "valueFrom": {"secretKeyRef": {"name": armed.secret, "key": secret_key(name, one.key)}},
        }
        for name, variables in wants(inputs, step).items()
        for one in variables
    ]


def secret_volumes(inputs: Inputs, stage: Iterable[Step], armed: Armed | None) -> list[dict[str, Any]]:
    """The volumes of a pod that its steps' secrets need."""
    if armed is None:
        return []
    names = dict.fromkeys(name for step in stage for name, variables in wants(inputs, step).items() if not variables)
    if armed.agent is not None:
        return agent_volumes(armed.agent) if names else []
    return [
        {
            "name": _volume(inputs, name),
            "secret": {
                "secretName": armed.secret,
                "defaultMode": 0o440,
                "items": [{"key": secret_key(name, file), "path": file} for file in armed.files.get(name, ())],
            },
        }
        for name in names
    ]


def _volume(inputs: Inputs, name: str) -> str:
    """Name of a secret's volume: by number, since a secret's own name may have 63 characters already."""
    known = [one.name for one in inputs.revision.spec.secrets or ()]
    held = inputs.environment.targets if inputs.environment is not None else {}
    known += [login for target in held.values() for login in target.logins]
    return f"secret-{known.index(name)}"


# Mode Pod.


def agent_volumes(agent: Agent) -> list[dict[str, Any]]:
    """The token for Vault, the memory, and what the init container reads."""
    token = {"audience": agent.audience, "expirationSeconds": _TOKEN_SECONDS, "path": "token"}
    field = {"fieldPath": f"metadata.annotations['{AGENT_ANNOTATION}']"}
    return [
        {"name": AGENT, "emptyDir": {"medium": "Memory", "sizeLimit": _MEMORY}},
        {"name": f"{AGENT}-token", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}},
        {"name": f"{AGENT}-order", "downwardAPI": {"items": [{"path": "agent.json", "fieldRef": field}]}},
    ]


def agent_container(agent: Agent, security: Mapping[str, Any]) -> dict[str, Any]:
    """The init container that logs in and reads."""
    return {
        "name": AGENT,
        "image": agent.image,
        "command": ["python3", "-m", "dataops_operator.vault.agent"],
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [
            {"name": AGENT, "mountPath": DIRECTORY},
            {"name": f"{AGENT}-token", "mountPath": _TOKEN, "readOnly": True},
            {
                "name": f"{AGENT}-order",
                "mountPath": "/dataops/agent.json",
                "subPath": "agent.json",
                "readOnly": True,
            },
        ],
    }


def agent_order(inputs: Inputs, stage: Iterable[Step], armed: Armed | None) -> str | None:
    """What the init container of a pod reads, as JSON; None where it has none.

    Raises:
        CredentialError: a source cannot be filled in, which arming has refused before.
    """
    if armed is None or armed.agent is None:
        return None
    names = dict.fromkeys(name for step in stage for name in wants(inputs, step))
    if not names:
        return None
    whole = order(inputs)
    return agent_description(armed.agent, whole.vault, {name: whole.requests[name] for name in names})


def agent_description(agent: Agent, vault: Vault, requests: Mapping[str, Credentials]) -> str:
    """What an init container reads, as JSON: where to log in, as whom, what to read, how long to wait."""
    wait = parse_duration(vault.wait_limit) if vault.on_unavailable == "Wait" else 0.0
    secrets = [
        {"name": name, **one.model_dump(mode="json", by_alias=True, exclude_none=True)}
        for name, one in requests.items()
    ]
    return orjson.dumps(
        {
            "server": dict(agent.server),
            "role": vault.role,
            "token": f"{_TOKEN}/token",
            "directory": DIRECTORY,
            "waitSeconds": wait,
            "secrets": secrets,
        }
    ).decode()
