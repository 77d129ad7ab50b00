"""A throw-away S3 server in the cluster, whose buckets are folders that one can look into."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from tests.e2e.platform import Platform
from tests.e2e.site import NAME, ROOT, Site

from localcluster import binaries, images, state

IMAGE = "localhost/dataops-s3:dev"
ENDPOINT = "http://s3.s3:7070"


class ObjectStore:
    """The server; one root login, which Vault keeps at `secret/s3`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self) -> None:
        """Build and load the image, apply the server, give its login to Vault, and wait until it answers."""
        images.build(IMAGE, ROOT / "images" / "s3" / "Dockerfile", binaries.ensure("s3"), {})
        cluster = state.load(NAME)
        assert cluster is not None
        images.load(cluster, [IMAGE])
        access, secret = "root-of-tests", secrets.token_hex(16)
        login = {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
        objects = [
            {"kind": "Namespace", "metadata": {"name": "s3"}},
            {"kind": "Secret", "metadata": {"name": "root", "namespace": "s3"}, "stringData": login},
        ]
        body = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", **one} for one in objects]}
        self._site.kubectl("apply", "-f", "-", given=json.dumps(body))
        self._site.kubectl("apply", "-f", str(Path(__file__).with_name("s3.yaml")))
        Platform(self._site).put("s3", access_key=access, secret_key=secret)
        self._site.kubectl("rollout", "restart", "deployment/s3", "-n", "s3")
        self._site.kubectl("rollout", "status", "deployment/s3", "-n", "s3", "--timeout=120s", within=150)

    def bucket(self, name: str) -> None:
        """Make a bucket."""
        self._inside("mkdir", "-p", f"/data/{name}")

    def objects(self, bucket: str) -> list[str]:
        """Keys of all objects of a bucket."""
        return sorted(self._inside("find", f"/data/{bucket}", "-type", "f", "-printf", "%P\n").split())

    def _inside(self, *words: str) -> str:
        return self._site.kubectl("exec", "-n", "s3", "deploy/s3", "--", *words)
