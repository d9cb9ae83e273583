#!/bin/sh
# Puts ocpp-csms (PyPI, AGPL-3.0-or-later: it runs as a program of its own, and nothing is linked with it) into the folder that is given.
set -eu
python3 -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check --retries 1 ocpp-csms==0.1.0
