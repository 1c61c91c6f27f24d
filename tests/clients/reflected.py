"""A gRPC client without generated code: all that it knows of a service it learns through reflection (v1alpha)."""

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

# Seconds. No check may hang on a server that never answers.
TIMEOUT = 20


class Service:
    """Calls methods of one service: requests are dicts in protobuf's JSON names, answers are messages."""

    def __init__(self, channel, name):
        self.channel, self.name = channel, name
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)
        self.methods = self.pool.FindServiceByName(name).methods_by_name

    def bind(self, method):
        """The method as grpcio's callable, and the class of its request."""
        descriptor = self.methods[method]
        request, answer = (message_factory.GetMessageClass(d) for d in (descriptor.input_type, descriptor.output_type))
        kind = self.channel.unary_stream if descriptor.server_streaming else self.channel.unary_unary
        path = f"/{self.name}/{method}"
        return kind(path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString), request

    def call(self, method, timeout=TIMEOUT, options=None, **fields):
        """A unary answer, or an iterator over a stream that is a call too. `options` are those of grpcio's callables."""
        callable_, request = self.bind(method)
        return callable_(json_format.ParseDict(fields, request()), timeout=timeout, **(options or {}))

    def future(self, method, timeout=TIMEOUT, options=None, **fields):
        """A unary call that goes on by itself."""
        callable_, request = self.bind(method)
        return callable_.future(json_format.ParseDict(fields, request()), timeout=timeout, **(options or {}))

    def events(self, timeout=TIMEOUT, view="EVENT_VIEW_FULL", **request):
        """Runs StreamEvents to its end."""
        call = self.call("StreamEvents", timeout, view=view, **request)
        return [event for event in call if event.WhichOneof("kind") != "heartbeat"]


class Refusal:
    """An error with its details, which `grpc_status` has decoded and compared with the plain status."""

    def __init__(self, error):
        self.code, self.message = error.code(), error.details()
        status = rpc_status.from_call(error)
        assert status is not None, f"no details: {self.code} {self.message}"
        self.details = decode(status)
        assert len(self.details) == len(status.details), "a detail type stands twice"
        info = self.details["ErrorInfo"]
        assert info.domain == "causerie", info
        assert self.details["RequestInfo"].request_id, "no request id"
        self.reason, self.metadata = info.reason, dict(info.metadata)

    def fields(self):
        return {violation.field for violation in self.details["BadRequest"].field_violations}


def decode(status):
    """The details of a google.rpc.Status by the short name of their type."""
    details = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name).FromString(packed.value)
    return details


def refused(code, reason, call):
    """Runs what must fail, with this code and reason."""
    try:
        answer = call()
    except grpc.RpcError as error:
        refusal = Refusal(error)
        found = (refusal.code.name, refusal.reason)
        assert found == (code, reason), f"{found} instead of {(code, reason)}: {refusal.message}"
        assert refusal.message, "no message"
        return refusal
    raise AssertionError(f"answered, where {code} {reason} was due: {answer}")


def run(checks, *arguments):
    """Runs every check and prints a line for each; the exit code."""
    failed = 0
    for check in checks:
        try:
            check(*arguments)
            print(f"ok      {check.__name__}", flush=True)
        except Exception as error:  # every check reports, whatever went wrong in it
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0
