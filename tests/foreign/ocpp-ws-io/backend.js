// A back end on ocpp-ws-io as its documentation shows one: strict validation, and nodes that meet over Redis.
//     node backend.js PORT REDIS_URL
"use strict";
const path = require("path");
const installed = path.join(__dirname, ".installed", "node_modules");
const { OCPPServer } = require(path.join(installed, "ocpp-ws-io"));
const { RedisAdapter } = require(path.join(installed, "ocpp-ws-io", "dist", "adapters", "redis.js"));
const Redis = require(path.join(installed, "ioredis"));

const [port, url] = process.argv.slice(2);
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

async function main() {
  const server = new OCPPServer({ protocols: ["ocpp1.6"], strictMode: true });
  server.auth((ctx) => ctx.accept({ session: {} }));
  server.on("client", (client) => {
    for (const [action, answer] of Object.entries(handlers)) client.handle("ocpp1.6", action, answer);
  });
  await server.setAdapter(new RedisAdapter({ pubClient: connect(), subClient: connect(), blockingClient: connect() }));
  await server.listen(Number(port), "127.0.0.1");
  process.on("SIGTERM", () => server.close().then(() => process.exit(0)));
}
main();
