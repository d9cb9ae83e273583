#!/bin/sh
# Puts ocpp-rpc (npm, MIT) into the folder that is given.
set -eu
mkdir -p "$1"
cd "$1"
echo '{"private": true, "dependencies": {"ocpp-rpc": "2.2.1"}}' > package.json
npm install --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-timeout=30000
