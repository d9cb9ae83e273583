#!/bin/sh
# Puts ocpp-ws-io (npm, MIT) and ioredis (npm, MIT) into the folder that is given. The logging library that ocpp-ws-io
# names, voltlog-io, is not in the registry: logger.js beside this file stands in for it.
set -eu
mkdir -p "$1/voltlog-io"
cp "$(dirname "$0")/logger.js" "$1/voltlog-io/index.js"
cd "$1"
echo '{"name": "voltlog-io", "version": "1.0.0", "main": "index.js"}' > voltlog-io/package.json
echo '{"private": true, "dependencies": {"ocpp-ws-io": "2.3.2", "ioredis": "5.8.2"},
  "overrides": {"voltlog-io": "file:./voltlog-io"}}' > package.json
npm install --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-timeout=30000
