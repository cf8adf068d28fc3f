#!/usr/bin/python3
"""Write a directory as an image archive that `docker load`, `podman load` and `ctr image import` all take.

usage: image.py ARCHIVE NAME:TAG DIRECTORY COMMAND [WORD...] [--platform=OS/ARCH]
"""

import hashlib
import io
import json
import platform
import sys
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def as_root(member):
    """The layer must not depend on who made it, or when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    return member


def layer_of(directory):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(directory, arcname=".", filter=as_root)
    return layer.getvalue()


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--platform=")]
    options = [word for word in sys.argv[1:] if word.startswith("--platform=")]
    archive, name, directory, *command = words
    machine = platform.machine()
    target = options[0].split("=", 1)[1] if options else "linux/" + ARCHITECTURES.get(machine, machine)
    system, architecture = target.split("/")

    layer = layer_of(directory)
    config = json.dumps({
        "os": system,
        "architecture": architecture,
        "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "integration tests"}],
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()

    with tarfile.open(archive, "w") as tar:
        for member_name, content in (("layer.tar", layer), (config_name, config), ("manifest.json", manifest)):
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


main()
