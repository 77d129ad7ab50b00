"""What the cases about storage share: targets as an Environment has them, logins as a Job finds them, one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.core.environment import Effective
from dataops_operator.core.storagejob import Action, Report, read_task, task_json
from dataops_operator.core.targets import ResolvedTarget, resolve_targets
from dataops_operator.storage.work import Folders, carry_out

UID = "11111111-2222-4333-8444-555555555555"
OTHER_UID = "99999999-2222-4333-8444-555555555555"
Object = dict[str, Any]


def vault(name: str) -> Object:
    """Where a login would come from; its files are put by `Site.login`."""
    return {"vault": {"path": f"database/creds/{name}"}}


class Site:
    """The folders of a Job, and Environments as the operator resolves them."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(folder / "secrets", folder / "targets")
        self.folders.secrets.mkdir()
        self.folders.targets.mkdir()

    def login(self, name: str, **values: str) -> None:
        """Put a login where the delivery would."""
        folder = self.folders.secrets / name
        folder.mkdir(exist_ok=True)
        for key, value in values.items():
            (folder / key).write_text(value)

    def run(self, action: Action, *targets: ResolvedTarget, owner: str = UID) -> dict[str, Report]:
        """Do what a Job does, in this process; the task goes through its text as it would."""
        task = read_task(task_json(owner, targets))
        return {report.name: report for report in carry_out(action, task, self.folders)}


def environment(target: Object, name: str = "prod") -> Effective:
    """An Environment with one target."""
    spec = EnvironmentSpec.model_validate({"targets": [target]})
    found, problems = resolve_targets(spec, "analytics", name, f"analytics-{name}", None)
    assert problems == []
    return Effective("analytics", name, f"analytics-{name}", "r", spec, {one.name: one for one in found})


def branch(parent: Effective, mode: str, name: str = "feature-x") -> ResolvedTarget:
    """The one target of a branch environment."""
    spec = EnvironmentSpec.model_validate({"from": parent.name, "dataMode": mode})
    found, problems = resolve_targets(spec, "analytics", name, f"analytics-{name}", parent)
    assert problems == []
    return found[0]


def code(reports: Mapping[str, Report], name: str) -> str:
    """How it went, in a word."""
    return str(reports[name].code)
