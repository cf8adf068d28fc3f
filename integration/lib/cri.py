#!/usr/bin/python3
"""Speak the Kubernetes Container Runtime Interface with containerd: Debian has no crictl.

usage: cri.py METHOD [JSON]     call a method of RuntimeService or ImageService, print the reply as JSON
       cri.py exec ID WORD...   ExecSync: print the output, exit with the process's exit code

$CRI_DIRECTORY holds api_pb2.py, made by protoc of the interface's api.proto.
"""

import json
import os
import sys

sys.path.insert(0, os.environ["CRI_DIRECTORY"])

import api_pb2  # noqa: E402 - found through the path set above
import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

SOCKET = "unix:///run/containerd/containerd.sock"


def call(method, request):
    for service in api_pb2.DESCRIPTOR.services_by_name.values():
        found = service.methods_by_name.get(method)
        if found is None:
            continue
        message = getattr(api_pb2, found.input_type.name)
        reply = getattr(api_pb2, found.output_type.name)
        with grpc.insecure_channel(SOCKET) as channel:
            remote = channel.unary_unary(
                f"/{service.full_name}/{method}",
                request_serializer=message.SerializeToString,
                response_deserializer=reply.FromString,
            )
            try:
                return remote(json_format.ParseDict(request, message()), timeout=50)
            except grpc.RpcError as error:
                sys.exit(f"{method}: {error.details()}")
    sys.exit(f"the interface has no method {method}")


def main():
    method, *words = sys.argv[1:]
    if method == "exec":
        container, *command = words
        reply = call("ExecSync", {"container_id": container, "cmd": command, "timeout": 20})
        sys.stdout.buffer.write(reply.stdout)
        sys.stderr.buffer.write(reply.stderr)
        sys.exit(reply.exit_code)
    reply = call(method, json.loads(words[0]) if words else {})
    print(json_format.MessageToJson(reply, preserving_proto_field_name=True))


main()
