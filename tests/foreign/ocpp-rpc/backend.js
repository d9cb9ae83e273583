// A back end on ocpp-rpc as its documentation shows one: strict validation, and a handler for each action of OCPP 1.6 and
// 2.0.1. A charge point chooses the version when it connects.
//     node backend.js PORT
"use strict";
const path = require("path");
const { RPCServer } = require(path.join(__dirname, ".installed", "node_modules", "ocpp-rpc"));

let transactions = Math.floor(Date.now() / 1000);
const now = () => new Date().toISOString();
const accepted = { status: "Accepted" };
const all = (actions, answer) => Object.fromEntries(actions.map((action) => [action, answer]));
const both = {
  BootNotification: () => ({ status: "Accepted", interval: 300, currentTime: now() }),
  DataTransfer: () => accepted,
  FirmwareStatusNotification: () => ({}),
  Heartbeat: () => ({ currentTime: now() }),
  MeterValues: () => ({}),
  StatusNotification: () => ({}),
};
const handlers = {
  "ocpp1.6": {
    ...both,
    ...all(["Authorize", "StopTransaction"], () => ({ idTagInfo: accepted })),
    DiagnosticsStatusNotification: () => ({}),
    StartTransaction: () => ({ transactionId: ++transactions, idTagInfo: accepted }),
  },
  "ocpp2.0.1": {
    ...both,
    Authorize: () => ({ idTokenInfo: accepted }),
    TransactionEvent: ({ params }) => (params.idToken ? { idTokenInfo: accepted } : {}),
    ...all(["NotifyEVChargingNeeds", "NotifyEVChargingSchedule", "SignCertificate"], () => accepted),
    ...all(
      ["ClearedChargingLimit", "LogStatusNotification", "NotifyChargingLimit", "NotifyCustomerInformation",
       "NotifyDisplayMessages", "NotifyEvent", "NotifyMonitoringReport", "NotifyReport", "PublishFirmwareStatusNotification",
       "ReportChargingProfiles", "ReservationStatusUpdate", "SecurityEventNotification"],
      () => ({}),
    ),
  },
};

const server = new RPCServer({ protocols: Object.keys(handlers), strictMode: true });
server.auth((accept) => accept());
server.on("client", (client) => {
  for (const [action, answer] of Object.entries(handlers[client.protocol])) client.handle(action, answer);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => server.close().then(() => process.exit(0)));
