// A back end on ocpp-rpc as its documentation shows one: strict validation, and a handler for each action.
//     node backend.js PORT
"use strict";
const path = require("path");
const { RPCServer } = require(path.join(__dirname, ".installed", "node_modules", "ocpp-rpc"));

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

const server = new RPCServer({ protocols: ["ocpp1.6"], strictMode: true });
server.auth((accept) => accept());
server.on("client", (client) => {
  for (const [action, answer] of Object.entries(handlers)) client.handle(action, answer);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => server.close().then(() => process.exit(0)));
