"""The fault proxy as a program: `python -m ocpp_resilience.faults.proxy`."""

from ocpp_resilience.faults.proxy.api import main

if __name__ == "__main__":
    main()
