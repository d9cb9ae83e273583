// A charge point on ocpp-ws-io's client, as its documentation shows one.
//     node ocpp_ws_io.js NODE_MODULES URL ID PROTOCOL...
// Reads calls from standard input, each a line of JSON: [action, payload]. Writes what came of each, and each command that
// it got, as a line of JSON: {"protocol"}, {"result"}, {"error"} or {"command", "payload"}.
"use strict";
const path = require("path");
const readline = require("readline");
const [modules, endpoint, identity, ...protocols] = process.argv.slice(2);
const { OCPPClient } = require(path.join(modules, "ocpp-ws-io"));

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const answers = {
  ClearCache: () => ({ status: "Accepted" }),
  RequestStartTransaction: () => ({ status: "Accepted", transactionId: "js-1" }),
  RemoteStartTransaction: () => ({ status: "Accepted" }),
  GetVariables: ({ getVariableData }) => ({
    getVariableResult: getVariableData.map((each) => ({ ...each, attributeStatus: "Accepted", attributeValue: "7" })),
  }),
};

async function main() {
  const client = new OCPPClient({ endpoint, identity, protocols, strictMode: true, reconnect: false });
  for (const [action, answer] of Object.entries(answers)) {
    for (const protocol of protocols) {
      client.handle(protocol, action, ({ params }) => {
        say({ command: action, payload: params });
        return answer(params);
      });
    }
  }
  await client.connect();
  say({ protocol: client.protocol });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [action, payload] = JSON.parse(line);
    try {
      say({ result: await client.call(client.protocol, action, payload) });
    } catch (error) {
      say({ error: error.rpcErrorCode ?? String(error) });
    }
  }
  await client.close();
}
main().catch((error) => {
  say({ error: String(error) });
  process.exit(1);
});
