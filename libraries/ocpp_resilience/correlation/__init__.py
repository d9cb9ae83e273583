"""Commands and their answers: sending by HTTP, a gateway's place behind Redis, inspection, and the manager alone."""
