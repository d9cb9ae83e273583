"""The engine behind the keyword libraries: one room a topic, each room uses only rooms of lower floors."""
