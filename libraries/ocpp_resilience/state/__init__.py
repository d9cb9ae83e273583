"""The state that a system keeps of charge points, connectors, transactions and configuration."""
