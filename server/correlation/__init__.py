"""Commands to charge points and the answers that belong to them."""
