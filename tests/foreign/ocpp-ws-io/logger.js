// What ocpp-ws-io uses of a logger: one line a record on standard error.
"use strict";
function createLogger() {
  const logger = { child: () => logger, addTransport: () => logger, flush: async () => {}, close: async () => {} };
  for (const level of ["trace", "debug", "info"]) logger[level] = () => {};
  for (const level of ["warn", "error", "fatal"])
    logger[level] = (text, fields) => process.stderr.write(`${level} ${text} ${JSON.stringify(fields ?? {})}\n`);
  return logger;
}
const transport = () => ({ name: "none", write: () => {} });
module.exports = { createLogger, consoleTransport: transport, prettyTransport: transport };
