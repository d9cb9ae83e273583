// A back end on ocpp-ws-io as its documentation shows one: strict validation, and nodes that meet over Redis. A node with
// an HTTP port sends commands to charge points, at whichever node they are.
//     node backend.js PORT REDIS_URL [HTTP_PORT]
"use strict";
const http = require("http");
const path = require("path");
const installed = path.join(__dirname, ".installed", "node_modules");
const { OCPPServer } = require(path.join(installed, "ocpp-ws-io"));
const { RedisAdapter } = require(path.join(installed, "ocpp-ws-io", "dist", "adapters", "redis.js"));
const Redis = require(path.join(installed, "ioredis"));

const [port, url, httpPort] = process.argv.slice(2);
let transactions = Math.floor(Date.now() / 1000);
const now = () => new Date().toISOString();
const accepted = { idTagInfo: { status: "Accepted" } };
const handlers = {
  Authorize: () => accepted,
  BootNotification: () => ({ status: "Accepted", interval: 300, currentTime: now() }),
  DataTransfer: () => ({ status: "Accepted" }),
  DiagnosticsStatusNotification: () => ({}),
  FirmwareStatusNotification: () => ({}),
  Heartbeat: () => ({ currentTime: now() }),
  MeterValues: () => ({}),
  StartTransaction: () => ({ transactionId: ++transactions, ...accepted }),
  StatusNotification: () => ({}),
  StopTransaction: () => accepted,
};

const connect = () => {
  const client = new Redis(url);
  client.on("error", () => {}); // it connects again by itself
  return client;
};

async function command(server, request, reply) {
  const station = decodeURIComponent(request.url.split("/")[2] ?? "");
  let text = "";
  for await (const part of request) text += part;
  const end = (status, document) => reply.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(document));
  if (request.method !== "POST" || !station) return end(404, { why: "there is no such path" });
  try {
    const { action, parameters = {}, timeout = 30 } = JSON.parse(text);
    const data = await server.sendToClient(station, "ocpp1.6", action, parameters, { timeoutMs: timeout * 1000 });
    return data === undefined ? end(503, { why: "the charge point is at no node" }) : end(200, { data });
  } catch (error) {
    const late = /timeout|timed out/i.test(`${error.name} ${error.message}`);
    return end(late ? 408 : 502, { why: `${error.rpcErrorCode ?? error.name}: ${error.message}` });
  }
}

async function main() {
  // It takes 64 KiB unless told otherwise; the suites send up to 256 KiB.
  const server = new OCPPServer({ protocols: ["ocpp1.6"], strictMode: true, maxPayloadBytes: 262144 });
  server.auth((ctx) => ctx.accept({ session: {} }));
  server.on("client", (client) => {
    for (const [action, answer] of Object.entries(handlers)) client.handle("ocpp1.6", action, answer);
  });
  await server.setAdapter(new RedisAdapter({ pubClient: connect(), subClient: connect(), blockingClient: connect() }));
  await server.listen(Number(port), "127.0.0.1");
  if (httpPort) http.createServer((request, reply) => command(server, request, reply)).listen(Number(httpPort), "127.0.0.1");
  process.on("SIGTERM", () => server.close().then(() => process.exit(0)));
}
main();
