"""Provisions the storage class ``standard``: a world-writable directory a claim, removed with it.

Kubernetes' own host-path provisioner makes directories that only root can write, and pre-made local volumes
run out, since nobody cleans a released one. Runs beside the control plane as a process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from pathlib import Path

from localcluster.api import Api, ApiError, Object
from localcluster.certs import Authority

CLASS = "standard"
PROVISIONER = "dataops.dev/local-directory"
_SELECTED = "volume.kubernetes.io/selected-node"
_PROVISIONED = "pv.kubernetes.io/provisioned-by"
_CLAIMS, _VOLUMES = "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"
_RESYNC_SECONDS = 10


def volume_for(claim: Object, folder: Path, node: str) -> Object | None:
    """The volume that the claim waits for, or None if it waits for none of ours.

    With WaitForFirstConsumer the scheduler names the node in an annotation once a pod needs the claim.
    """
    meta, spec = claim["metadata"], claim["spec"]
    waits = claim.get("status", {}).get("phase") == "Pending" and not spec.get("volumeName")
    ours = spec.get("storageClassName") == CLASS and meta.get("annotations", {}).get(_SELECTED) == node
    if not (waits and ours) or spec.get("volumeMode") == "Block" or "deletionTimestamp" in meta:
        return None
    name = f"pvc-{meta['uid']}"
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "resourceVersion": meta["resourceVersion"]}
    reference |= {key: meta[key] for key in ("namespace", "name", "uid")}
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {_PROVISIONED: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "local": {"path": str(folder / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "claimRef": reference,
        },
    }


def released(volume: Object) -> bool:
    """Whether the volume is ours and its claim is gone."""
    ours = volume["metadata"].get("annotations", {}).get(_PROVISIONED) == PROVISIONER
    return bool(ours and volume.get("status", {}).get("phase") == "Released")


def reconcile(api: Api, folder: Path, node: str) -> None:
    """Make what claims wait for, remove what claims left; repeating it is harmless."""
    for claim in api.request("GET", _CLAIMS)["items"]:
        if volume := volume_for(claim, folder, node):
            path = Path(volume["spec"]["local"]["path"])
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)  # any user's pod may write there
            _settled(api, "POST", _VOLUMES, volume)
    for volume in filter(released, api.request("GET", _VOLUMES)["items"]):
        shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
        _settled(api, "DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")


def _settled(api: Api, method: str, path: str, body: Object | None = None) -> None:
    try:
        api.request(method, path, body)
    except ApiError as error:
        if error.code not in (404, 409):  # done already
            raise


def _follow(api: Api, path: str, look: threading.Event) -> None:
    while True:
        try:
            for _ in api.watch(path, seconds=300):
                look.set()
        except (OSError, ApiError, ValueError):
            time.sleep(1)  # the API server restarts; the resync covers the gap


def main() -> None:
    """Run until killed; touches the ready file after each pass that worked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--pki", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--ready", type=Path, required=True)
    options = parser.parse_args()
    api = Api(options.server, Authority(options.pki), "volumes")
    look = threading.Event()
    for path in (_CLAIMS, _VOLUMES):
        threading.Thread(target=_follow, args=(api, path, look), daemon=True).start()
    while True:
        try:
            reconcile(api, options.folder, options.node)
            options.ready.touch()
        except (OSError, ApiError) as error:
            print(f"tried again in a moment: {error}", file=sys.stderr, flush=True)
        look.wait(_RESYNC_SECONDS)
        look.clear()


if __name__ == "__main__":
    main()
