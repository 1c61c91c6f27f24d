// gRPC-Web by Connect's client: node grpc_web.cjs ADDRESS, with its packages in NODE_PATH and the descriptor sets of the contract
// and of google.rpc's details at CAUSERIE_DESCRIPTORS and DETAILS_DESCRIPTORS.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const { createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = require("@connectrpc/connect");
const { createGrpcWebTransport } = require("@connectrpc/connect-web");

let passed = 0;
const check = (what, found, expected) => {
  assert.deepStrictEqual(found, expected, what);
  console.log(`ok: ${what}`);
  passed += 1;
};

async function run(address) {
  const read = (path) => createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(path)));
  const [registry, google] = [read(process.env.CAUSERIE_DESCRIPTORS), read(process.env.DETAILS_DESCRIPTORS)];
  const transport = createGrpcWebTransport({ baseUrl: `http://${address}` });
  const client = createClient(registry.getService("causerie.v1.ConversationService"), transport);
  const text = (turn) => turn.outputs.flatMap((entry) => entry.kind.value.content.map((chunk) => chunk.kind.value)).join("");

  let headers;
  const turn = await client.start({ model: "offline-small", input: "Hello" }, {
    headers: { "x-request-id": "web-unary" }, onHeader: (found) => { headers = found; },
  });
  check("a unary call is answered", [turn.id.startsWith("turn_"), text(turn).length > 0], [true, true]);
  check("the call has its id", headers.get("x-request-id"), "web-unary");

  const events = [];
  const start = { case: "start", value: { model: "offline-small", input: "Hello" } };
  for await (const event of client.streamEvents({ request: start })) events.push(event);
  const kinds = events.map((event) => event.kind.case);
  check("a stream begins and ends", [kinds[0], kinds.at(-1)], ["responseStarted", "responseDone"]);
  check("a stream has no gaps", events.map((event) => Number(event.firstSequence)), events.map((_, i) => (i ? Number(events[i - 1].sequence) + 1 : 1)));
  const told = events.filter((event) => event.kind.case === "messageOutputDelta").map((event) => event.kind.value.content.kind.value);
  check("a stream says what its turn has", told.join(""), text(events.at(-1).kind.value.turn));
  const rest = [];
  const resume = { case: "resume", value: { turnId: events[0].turnId, afterSequence: 2n } };
  for await (const event of client.streamEvents({ request: resume })) rest.push(event.sequence);
  check("a stream is resumed exactly", rest, events.slice(2).map((event) => event.sequence));

  const failure = async (call) => {
    try {
      await call();
    } catch (error) {
      return ConnectError.from(error);
    }
    throw new Error("it was not refused");
  };
  const missing = await failure(() => client.getTurn({ turnId: "turn_01919d3c2f5b7c3e8f00112233445566" }, { headers: { "x-request-id": "web-missing" } }));
  const details = (error) => Object.fromEntries(error.findDetails(google).map((detail) => [detail.$typeName, detail]));
  check("a refusal has its code", missing.code, Code.NotFound);
  check("a refusal has its reason", details(missing)["google.rpc.ErrorInfo"].reason, "TURN_NOT_FOUND");
  check("a refusal knows the call", details(missing)["google.rpc.RequestInfo"].requestId, "web-missing");
  const wrong = await failure(async () => { for await (const _ of client.streamEvents({ request: { case: "resume", value: { turnId: "x" } } })); });
  check("a stream is refused with details", [wrong.code, details(wrong)["google.rpc.BadRequest"].fieldViolations[0].field], [Code.InvalidArgument, "resume.turn_id"]);
  const late = await failure(() => client.start({ model: "offline-small", input: "Hello" }, { timeoutMs: 1 }));
  check("a deadline is one", late.code, Code.DeadlineExceeded);
  const unknown = createClient(registry.getService("causerie.v1.WatchService"), transport);
  check("another service is there too", typeof (await unknown.getRevisions({})).newest, "bigint");
}

run(process.argv[2]).then(() => {
  console.log(`${passed} passed, 0 failed`);
  process.exit(0);
}, (error) => {
  console.error(error);
  process.exit(1);
});
