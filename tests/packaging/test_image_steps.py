"""The image's install and start steps, taken from the Dockerfile and carried out in a freshly made Debian tree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerfile import Root, Stage, parse
from running import free_port, wait_for

REPOSITORY = Path(__file__).parents[2]
PACKAGES = Path(tempfile.gettempdir()) / "router-debootstrap-packages"
"""Debian packages of earlier runs, so that the next one is quicker."""

CERTIFICATES = "/host-certificates.pem"
BUILD_TOOLS = ("gcc", "cc", "g++", "c++", "ld", "as", "make", "cmake", "cargo", "pip", "pip3", "git", "dpkg-buildpackage")


def mounts_are_ours() -> bool:
    """Whether a process here can have mounts that nobody else sees."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.chroot,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root"),
    pytest.mark.skipif(not all(map(shutil.which, ("debootstrap", "unshare", "chroot"))), reason="no debootstrap"),
    pytest.mark.skipif(not mounts_are_ours(), reason="no mount namespace can be made here, such as inside another chroot"),
]


def archive() -> list[str]:
    """The archive that this machine's own packages come from; none: debootstrap's default."""
    if shutil.which("apt-get") is None:
        return []
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main", "Origin: Debian"]
    listed = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    return [uri for uri in listed if uri.rstrip("/").endswith("/debian")][:1]


def debian(release: str, into: Path) -> None:
    """A minimal Debian tree with what this machine knows about reaching package archives: names, certificates, pip's settings."""
    PACKAGES.mkdir(exist_ok=True)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--cache-dir={PACKAGES}", release, str(into), *archive()],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if made.returncode:
        pytest.skip(f"debootstrap could not make {release} here: {made.stdout.strip().rpartition(chr(10))[2]}")
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        if Path(name).is_file():
            shutil.copy(name, into / name[1:])
    if (own := Path.home() / ".config/pip/pip.conf").is_file():
        (into / "root/.config/pip").mkdir(parents=True)
        shutil.copy(own, into / "root/.config/pip/pip.conf")
    if (known := _certificates()) is not None:
        shutil.copy(known, into / CERTIFICATES[1:])


def _certificates() -> Path | None:
    named = (os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def reach() -> dict[str, str]:
    """Variables by which this machine's pip and apt reach their archives."""
    proxies = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    found = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name in proxies}
    trusted = {"PIP_CERT": CERTIFICATES} if _certificates() is not None else {}
    return {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **found, **trusted}


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[Stage, Root]]:
    """The last stage as the Dockerfile describes it, and the tree that its steps have made."""
    stages = parse((REPOSITORY / "Dockerfile").read_text())
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        release = stages[0].image.removeprefix("debian:").removesuffix("-slim")
        debian(release, folder / "base")
        roots: dict[str, Root] = {}
        for number, stage in enumerate(stages):
            assert stage.image == stages[0].image
            tree = folder / (stage.name or f"stage-{number}")
            subprocess.run(["cp", "-a", folder / "base", tree], check=True)
            root = roots[stage.name or str(number)] = Root(tree, REPOSITORY, dict(roots))
            for instruction in stage.instructions:
                root.carry_out(instruction, reach())
        yield stages[-1], root
    finally:
        shutil.rmtree(folder)


def test_the_last_stage_holds_no_build_tools_and_no_pip(image: tuple[Stage, Root]) -> None:
    _, root = image
    folders = ("bin", "usr/bin", "usr/local/bin", "opt/router/bin")
    present = {file.name for folder in folders for file in (root.path / folder).glob("*")}
    assert present.isdisjoint(BUILD_TOOLS)
    installed = {path.name for path in root.path.glob("opt/router/lib/*/site-packages/*")}
    assert installed.isdisjoint({"pip", "setuptools", "pytest", "mypy"})
    assert not list(root.path.glob("usr/lib/python3*/ensurepip/_bundled/*"))


def test_the_image_starts_serves_and_stops_as_its_own_user(image: tuple[Stage, Root], tmp_path: Path) -> None:
    stage, root = image
    port = free_port()
    environment = {**root.environment, "ROUTER_HOST": "127.0.0.1", "ROUTER_PORT": str(port)}
    command = [*stage.command("ENTRYPOINT"), *stage.command("CMD")]
    log = tmp_path / "log"
    with log.open("wb") as output:
        service = subprocess.Popen(root.argv(command), env=environment, stdout=output, stderr=output, start_new_session=True)

    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(root.argv(words), env=environment, capture_output=True, text=True, timeout=60)

    def healthy() -> bool:
        assert service.poll() is None, log.read_text()[-4000:]
        return inside(*stage.command("HEALTHCHECK")).returncode == 0

    try:
        wait_for(healthy, 60, "the image's own health check")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
        user = int(root.user.partition(":")[0])
        assert user != 0
        tree = [service.pid, *_children(service.pid)]
        assert len(tree) >= 3  # supervisor, drainer, worker (and Redis)
        assert {_user(pid) for pid in tree} == {user}
        made = inside("router", "keys", "create", "--app", "demo", "--owner", "demo@example.org", "--json")
        assert made.returncode == 0, made.stderr
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(
                {"model": "auto", "messages": [{"role": "user", "content": "Summarise: it rained, then it stopped."}]}
            ).encode(),
            {"authorization": f"Bearer {json.loads(made.stdout)['key']}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - to our own service
            assert answer.headers["x-router-tier"] == "fast"
            assert json.load(answer)["choices"][0]["message"]["content"]
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0, log.read_text()[-4000:]
        spent = inside("router", "report", "spend", "--format", "json")
        assert spent.returncode == 0, spent.stderr
        assert json.loads(spent.stdout)["total"]["requests"] == 1
    finally:
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait(10)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def _user(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid
