"""An MCP server over standard input and output that does what a good one would not. Standard library alone.

Arguments: what it does at its start, and a file that gets a line for each start.
"""

import json
import os
import sys

mode, starts = sys.argv[1], sys.argv[2]
with open(starts, "a") as file:
    file.write(f"{os.getpid()}\n")
if mode == "exit":
    print("cannot find my files", file=sys.stderr)
    sys.exit(7)

TOOLS = ["echo", "error", "die", "hang", "progress", "env", "ask", "grow", "flood", "long_line", "pester", "journal", "ragged"]
journal = []


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(of):
    return {"content": [{"type": "text", "text": of}]}


def page(cursor):
    """Two pages; in other modes a circle, or no end."""
    if mode == "circle":
        return {"tools": [], "nextCursor": "again"}
    if mode == "endless":
        return {"tools": [], "nextCursor": str(int(cursor or "0") + 1)}
    half = len(TOOLS) // 2
    names = TOOLS[half:] if cursor else TOOLS[:half]
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    tools = [{"name": name, "description": f"Does {name}.", "inputSchema": {} if name == "env" else schema} for name in names]
    return {"tools": tools, **({} if cursor else {"nextCursor": "2"})}


def ask():
    """What comes of asking the client for what it does not offer."""
    answers = {}
    for number, method in enumerate(["ping", "sampling/createMessage", "elicitation/create", "roots/list"]):
        params = {
            "sampling/createMessage": {"messages": [], "maxTokens": 1},
            "elicitation/create": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
        }.get(method, {})
        send({"id": f"ask-{number}", "method": method, "params": params})
        answer = json.loads(sys.stdin.readline())
        answers[method] = answer.get("error", {}).get("code") or answer.get("result", {}).get("action", "ok")
    return text(json.dumps(answers))


def call(id, params):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        return text(arguments.get("text", ""))
    if name == "error":
        send({"id": id, "error": {"code": -32602, "message": "no such city"}})
        return None
    if name == "die":
        sys.exit(3)
    if name == "hang":
        return None
    if name == "env":
        return text(json.dumps(dict(os.environ)))
    if name == "ask":
        return ask()
    if name == "journal":
        return text(json.dumps(journal))
    if name == "progress":
        token = params["_meta"]["progressToken"]
        for done in range(1, 1001):
            message = {"message": "nearly there"} if done == 1000 else {}
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": done, "total": 1000, **message}})
        return text("done")
    if name == "grow":
        TOOLS.append("grown")
        send({"method": "notifications/tools/list_changed"})
        return text("grown")
    if name == "flood":
        for number in range(20000):
            send({"method": "notifications/message", "params": {"level": "info", "data": f"note {number}"}})
        return text("flooded")
    if name == "ragged":
        sys.stdout.write('no json\n{"half":\n\n[]\n{"jsonrpc":"2.0","id":"nobody","result":{}}\n\xff\n')
        return text("ragged")
    if name == "long_line":
        for _ in range(17):
            sys.stdout.write("x" * (1 << 20))
        sys.stdout.flush()
        return None
    if name == "pester":
        while True:
            send({"id": "again", "method": "ping"})
    raise AssertionError(name)


for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if mode == "silent":
        continue
    if method == "initialize":
        send({"id": id, "result": {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "faults", "version": "1.2.3"},
        }})
    elif method == "tools/list":
        journal.append("tools/list")
        send({"id": id, "result": page(message.get("params", {}).get("cursor"))})
    elif method == "tools/call":
        journal.append(f"tools/call {message['params']['name']}")
        result = call(id, message["params"])
        if result is not None:
            send({"id": id, "result": result})
    elif method and method.startswith("notifications/"):
        journal.append(method)
