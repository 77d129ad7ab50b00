"""Where what we ship comes from (security check 29): locked by hash, no installer in an image, actions pinned."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.harness.operator import ROOT

import sbom

TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
LOCKS = [ROOT / name for name in TRACKED if re.search(r"requirements[^/]*/[^/]+\.txt$|requirements\.txt$", name)]
DOCKERFILES = [ROOT / name for name in TRACKED if name.endswith("Dockerfile")]
WORKFLOWS = [ROOT / name for name in TRACKED if re.match(r"\.github/workflows/.*\.ya?ml$", name)]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def entries(lock: Path) -> list[str]:
    """The requirements of a lock file, each on one line."""
    joined = lock.read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def stages(dockerfile: Path) -> list[list[str]]:
    """The instructions of each stage, continuation lines joined."""
    found: list[list[str]] = []
    for line in re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text())).splitlines():
        if line.upper().startswith("FROM "):
            found.append([])
        if found and line.strip():
            found[-1].append(line.strip())
    return found


def test_there_is_something_to_look_at() -> None:
    assert {"operator.txt", "dev.txt", "storage.txt"} <= {path.name for path in LOCKS}
    assert len(DOCKERFILES) >= 2
    assert WORKFLOWS


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_every_dependency_is_one_version_with_its_hashes(lock: Path) -> None:
    for entry in entries(lock):
        assert re.match(r"^[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==[^ ;]+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"no hash: {entry[:80]}"
        assert "://" not in entry, f"not from the index: {entry[:80]}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=named)
def test_an_image_installs_what_is_locked_and_fetches_nothing_else(dockerfile: Path) -> None:
    for line in [line for stage in stages(dockerfile) for line in stage]:
        assert not re.match(r"ADD\s", line), line
        assert not re.search(r"\b(curl|wget|git clone)\b", line), line
        assert not re.search(r":latest\b", line), line
        for install in re.findall(r"\bpip\b[^&|;]*\binstall\b[^&|;]*", line):
            assert "--require-hashes" in install, install
            # Where a package exists as source alone, its build requirements are locked by hash, too.
            assert "--only-binary" in install or "--no-deps" in install, install


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=named)
def test_an_image_runs_as_nobody_and_has_no_installer_of_ours(dockerfile: Path) -> None:
    users = [line.split()[1] for line in stages(dockerfile)[-1] if line.startswith("USER ")]
    assert users, "no USER in the last stage"
    assert re.fullmatch(r"[1-9][0-9]*(:[1-9][0-9]*)?", users[-1]), "by number, or runAsNonRoot cannot be checked"
    assert not any(re.match(r"RUN\b.*\bpip\b", line) for line in stages(dockerfile)[-1])
    for copied in re.findall(r"COPY --from=\S+ (\S*venv)\b", dockerfile.read_text()):
        assert re.search(rf"venv --without-pip {copied}", dockerfile.read_text()), f"{copied} brings pip along"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=named)
def test_a_workflow_pins_its_actions_and_takes_no_rights_that_it_does_not_name(workflow: Path) -> None:
    """A tag can be moved by whoever takes an action over (CVE-2025-30066); a commit cannot."""
    text = workflow.read_text()
    parsed = yaml.safe_load(text)
    for used in re.findall(r"uses:\s*(\S+)", text):
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used), used
    assert parsed["permissions"] in ({}, {"contents": "read"})
    assert "pull_request_target" not in text
    for name, job in parsed["jobs"].items():
        assert "timeout-minutes" in job, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
    scripts = [step["run"] for job in parsed["jobs"].values() for step in job["steps"] if "run" in step]
    assert not [one for one in scripts if "${{" in one], "text of others in a shell: hand it over by env"


def test_the_bill_of_materials_names_all_that_is_locked_with_its_hashes() -> None:
    lock = ROOT / "requirements" / "operator.txt"
    made = json.loads(json.dumps(sbom.bill("dataops-operator", "0.1.0", lock)))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["version"] == "0.1.0"
    listed = {(one["name"], one["version"]) for one in made["components"]}
    wanted = {tuple(re.split(r"==|;| ", re.sub(r"\[.*?\]", "", entry))[:2]) for entry in entries(lock)}
    assert listed == wanted != set()
    for one in made["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest["content"]) for digest in one["hashes"])
        assert one["hashes"]
