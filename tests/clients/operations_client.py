"""Checks a server that runs with --offline through Google's own client of long-running operations (google-api-core), which knows
nothing of causerie: it polls a turn as it polls any operation.

    python operations_client.py 127.0.0.1:PORT

Prints one line per check and `N passed, 0 failed`; exits with 1 when a check failed.
"""

import sys

import grpc
from google.api_core import exceptions, operation
from google.api_core.future.polling import DEFAULT_POLLING
from google.api_core.operations_v1 import OperationsClient
from google.protobuf import message_factory

from reflected import Service, run

MODEL = "offline-small"
# Google's default begins with a second between two questions.
POLLING = DEFAULT_POLLING.with_delay(initial=0.02, maximum=0.2).with_timeout(20)


class Server:
    def __init__(self, channel):
        self.service = Service(channel, "causerie.v1.ConversationService")
        self.operations = OperationsClient(channel)
        turn = self.service.pool.FindMessageTypeByName("causerie.v1.Turn")
        self.Turn = message_factory.GetMessageClass(turn)

    def queue(self, text, **fields):
        """Accepts a background turn, and gives Google's future of its operation."""
        turn = self.service.call("Start", model=MODEL, input=text, background=True, **fields)
        pending = self.operations.get_operation(f"operations/{turn.id}")
        future = operation.from_gapic(
            pending, self.operations, self.Turn, metadata_type=self.Turn, polling=POLLING
        )
        return turn, future


def state(turn):
    return turn.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[turn.state].name


def text(turn):
    return "".join(chunk.text for entry in turn.outputs for chunk in entry.message_output.content)


def a_turn_is_polled_to_its_end(server):
    queued, future = server.queue("Hello")
    turn = future.result()
    assert turn.id == queued.id and state(turn) == "STATE_COMPLETED", turn
    assert text(turn).startswith('[offline] You said: "Hello"'), turn
    assert future.done() and future.exception() is None
    assert future.metadata.id == turn.id and not future.metadata.outputs, future.metadata


def a_failure_is_the_operations_error(server):
    _, future = server.queue("/offline error 400\nHello", backgroundOptions={"maxAttempts": 1})
    try:
        turn = future.result()
    except exceptions.GoogleAPICallError as error:
        assert error.grpc_status_code is not None and error.message, error
        assert state(future.metadata) == "STATE_FAILED", future.metadata
        return
    raise AssertionError(f"it came to its end: {turn}")


def a_turn_that_waits_is_cancelled(server):
    queued, future = server.queue("Later", backgroundOptions={"notBefore": "2100-01-01T00:00:00Z"})
    assert not future.done() and state(future.metadata) == "STATE_QUEUED"
    assert future.cancel()
    try:
        future.result()
    except exceptions.Aborted as error:
        assert "cancelled" in error.message, error
        assert state(future.metadata) == "STATE_CANCELLED", future.metadata
        assert not future.cancel(), "it has ended"
        return
    raise AssertionError("it came to its end")


def operations_are_listed_in_pages(server):
    names = [server.queue(f"Number {n}")[1] for n in range(5)]
    for future in names:
        future.result()
    done = list(server.operations.list_operations("operations", "done = true"))
    expected = [future.operation.name for future in reversed(names)]
    assert [found.name for found in done][:5] == expected, done
    assert all(found.done for found in done)
    _, waits = server.queue("Later", backgroundOptions={"notBefore": "2100-01-01T00:00:00Z"})
    open_ones = list(server.operations.list_operations("operations", "done = false"))
    assert [found.name for found in open_ones] == [waits.operation.name], open_ones
    waits.cancel()


def an_operation_that_is_none_is_told(server):
    for method in (server.operations.get_operation, server.operations.cancel_operation):
        try:
            method("operations/turn_019f0000000070008000000000000000")
        except exceptions.NotFound:
            continue
        raise AssertionError(f"{method} found it")


def a_delete_changes_nothing(server):
    queued, future = server.queue("Hello")
    future.result()
    server.operations.delete_operation(f"operations/{queued.id}")
    assert server.operations.get_operation(f"operations/{queued.id}").done


CHECKS = [
    a_turn_is_polled_to_its_end,
    a_failure_is_the_operations_error,
    a_turn_that_waits_is_cancelled,
    operations_are_listed_in_pages,
    an_operation_that_is_none_is_told,
    a_delete_changes_nothing,
]

if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1]) as channel:
        sys.exit(run(CHECKS, Server(channel)))
