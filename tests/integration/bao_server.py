"""A real OpenBao server with its storage in a folder, so that it can be stopped and started again."""

import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hvac
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

POLICY = """
path "transit/encrypt/aether" { capabilities = ["update"] }
path "transit/decrypt/aether" { capabilities = ["update"] }
path "transit/keys/aether" { capabilities = ["read"] }
path "transit/keys/aether/rotate" { capabilities = ["update"] }
path "transit/keys/aether/config" { capabilities = ["update"] }
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificate() -> str:
    """Return some certificate: OpenBao wants one, and speaks plain HTTP to the tests' Kubernetes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3_650))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


class BaoServer:
    """OpenBao on a free port, set up with a transit key and an AppRole for the platform.

    Args:
        folder: where its storage lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port, cluster = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "storage").mkdir()
        (folder / "bao.hcl").write_text(
            f'storage "raft" {{\n  path = "{folder / "storage"}"\n  node_id = "one"\n}}\n'
            f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  cluster_address = "127.0.0.1:{cluster}"\n'
            "  tls_disable = true\n}\n"
            f'api_addr = "{self.url}"\ncluster_addr = "http://127.0.0.1:{cluster}"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start(unseal=False)
        made = self._client().sys.initialize(1, 1)
        self._unseal_key, self._root = made["keys"][0], made["root_token"]
        self.unseal()
        self._set_up()

    def _client(self) -> hvac.Client:
        client = hvac.Client(url=self.url, token=getattr(self, "_root", None), timeout=60)
        client.session.trust_env = False
        return client

    def start(self, *, unseal: bool = True) -> None:
        """Start it; sealed unless told otherwise."""
        program = shutil.which("bao", path=str(Path(sys.executable).parent)) or "bao"
        log = (self._folder / "bao.log").open("ab")
        self._process = subprocess.Popen(
            [program, "server", "-config", str(self._folder / "bao.hcl")],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(self._folder)},
        )
        log.close()
        for _ in range(400):
            try:
                requests.get(f"{self.url}/v1/sys/health", timeout=2)
                break
            except requests.RequestException:
                time.sleep(0.05)
        if unseal:
            self.unseal()

    def unseal(self) -> None:
        """Make its keys usable."""
        client = self._client()
        client.sys.submit_unseal_key(self._unseal_key)
        for _ in range(400):
            if requests.get(f"{self.url}/v1/sys/health", timeout=5).status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError("OpenBao stays sealed")

    def _set_up(self) -> None:
        client = self._client()
        client.sys.enable_secrets_engine("transit")
        client.secrets.transit.create_key("aether", key_type="aes256-gcm96")
        client.sys.create_or_update_policy("aether", POLICY)
        client.sys.enable_auth_method("approle")
        client.auth.approle.create_or_update_approle("aether", token_policies=["aether"], token_ttl="20s")
        self.role_id = client.auth.approle.read_role_id("aether")["data"]["role_id"]
        self.secret_id = client.auth.approle.generate_secret_id("aether")["data"]["secret_id"]

    def allow_kubernetes(self, api: str) -> None:
        """Let a service account of the Kubernetes at `api` sign in as the role `platform`."""
        client = self._client()
        client.sys.enable_auth_method("kubernetes")
        client.auth.kubernetes.configure(
            kubernetes_host=api,
            kubernetes_ca_cert=_certificate(),
            disable_local_ca_jwt=True,
            token_reviewer_jwt="reviewer",
        )
        client.auth.kubernetes.create_role(
            "platform",
            bound_service_account_names=["platform"],
            bound_service_account_namespaces=["aether"],
            policies=["aether"],
        )

    def environment(self) -> dict[str, str]:
        """Return the settings with which a platform uses it."""
        return {
            "AETHER_BAO_URL": self.url,
            "AETHER_BAO_AUTH": "approle",
            "AETHER_BAO_ROLE": self.role_id,
            "AETHER_BAO_SECRET_ID": self.secret_id,
        }

    def stop(self) -> None:
        """Stop it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
