"""A host that is changed behind the engine's back, and the provider for it: things with an image, and nothing else.

The provider runs in the test's own process; PULUMI_DEBUG_PROVIDERS tells the engine where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2
from pulumi.runtime.proto import provider_pb2 as wire

PROGRAM: Final = """\
import pathlib
import pulumi

for thing in pathlib.Path("wanted").read_text().split():
    name, _, image = thing.partition("=")
    pulumi.CustomResource("host:index:Thing", name, {"name": name, "image": image})
"""
"""Makes a thing of each NAME=IMAGE in the file `wanted`."""

Asked = TypeVar("Asked", bound=Message)
Answer = TypeVar("Answer", bound=Message)


class Host:
    """The image of each thing by its name, which is its id, too."""

    def __init__(self) -> None:
        self.things: dict[str, str] = {}

    def check_config(self, asked: wire.CheckRequest) -> wire.CheckResponse:
        return wire.CheckResponse(inputs=asked.news)

    def configure(self, _: wire.ConfigureRequest) -> wire.ConfigureResponse:
        return wire.ConfigureResponse()

    def about(self, _: Empty) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version="1.0.0")

    def check(self, asked: wire.CheckRequest) -> wire.CheckResponse:
        return wire.CheckResponse(inputs=asked.news)

    def diff(self, asked: wire.DiffRequest) -> wire.DiffResponse:
        if asked.olds["image"] == asked.news["image"]:
            return wire.DiffResponse(changes=wire.DiffResponse.DIFF_NONE)
        return wire.DiffResponse(changes=wire.DiffResponse.DIFF_SOME, diffs=["image"])

    def create(self, asked: wire.CreateRequest) -> wire.CreateResponse:
        name = str(asked.properties["name"])
        if not asked.preview:
            self.things[name] = str(asked.properties["image"])
        return wire.CreateResponse(id=name, properties=asked.properties)

    def read(self, asked: wire.ReadRequest) -> wire.ReadResponse:
        if asked.id not in self.things:
            return wire.ReadResponse()
        found = Struct()
        found.update({"name": asked.id, "image": self.things[asked.id]})
        return wire.ReadResponse(id=asked.id, properties=found, inputs=found)

    def update(self, asked: wire.UpdateRequest) -> wire.UpdateResponse:
        if not asked.preview:
            self.things[asked.id] = str(asked.news["image"])
        return wire.UpdateResponse(properties=asked.news)

    def delete(self, asked: wire.DeleteRequest) -> Empty:
        del self.things[asked.id]
        return Empty()


@contextmanager
def serve(host: Host) -> Iterator[str]:
    """The provider on a port of loopback; what PULUMI_DEBUG_PROVIDERS has to be."""

    def take(kind: type[Asked], answer: Callable[[Asked], Answer]) -> grpc.RpcMethodHandler[Asked, Answer]:
        return grpc.unary_unary_rpc_method_handler(
            lambda asked, _: answer(asked),
            request_deserializer=kind.FromString,
            response_serializer=lambda given: given.SerializeToString(),
        )

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Attach": take(plugin_pb2.PluginAttach, lambda _: Empty()),
        "CheckConfig": take(wire.CheckRequest, host.check_config),
        "Configure": take(wire.ConfigureRequest, host.configure),
        "GetPluginInfo": take(Empty, host.about),
        "Check": take(wire.CheckRequest, host.check),
        "Diff": take(wire.DiffRequest, host.diff),
        "Create": take(wire.CreateRequest, host.create),
        "Read": take(wire.ReadRequest, host.read),
        "Update": take(wire.UpdateRequest, host.update),
        "Delete": take(wire.DeleteRequest, host.delete),
    }
    with futures.ThreadPoolExecutor(max_workers=4) as workers:
        server = grpc.server(workers)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("pulumirpc.ResourceProvider", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"host:{port}"
        finally:
            server.stop(None).wait()
