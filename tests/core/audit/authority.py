"""A timestamp authority made with openssl.

What belongs here: answering requests. What does not: what is expected of the answers (the tests).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.anchors.timestamp import read_roots

TSA_CONFIGURATION = """
[ req ]
distinguished_name = name
prompt = no
[ name ]
CN = test authority
[ ca ]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[ tsa_certificate ]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
[ tsa ]
default_tsa = tsa_main
[ tsa_main ]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def run(folder: Path, *command: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, **more)
    assert done.returncode == 0, done.stderr.decode()
    return done


class Authority:
    """A timestamp authority made with openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "tsa.cnf").write_text(TSA_CONFIGURATION)
        (folder / "serial").write_text("01\n")
        new = ("openssl", "req", "-config", "tsa.cnf", "-newkey", "rsa:2048", "-nodes")
        run(folder, *new, "-x509", "-days", "9", "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem")
        run(folder, *new, "-subj", "/CN=test tsa", "-keyout", "tsa.key", "-out", "tsa.csr")
        sign = ("openssl", "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "9")
        run(folder, *sign, "-extfile", "tsa.cnf", "-extensions", "tsa_certificate", "-out", "tsa.pem")
        self.roots = read_roots(folder / "ca.pem")

    def answer(self, request: bytes) -> bytes:
        (self.folder / "request").write_bytes(request)
        reply = ("openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "request", "-out", "response")
        run(self.folder, *reply)
        return (self.folder / "response").read_bytes()
