"""Fault scenarios on the sandbox: a known stream of mailbox events, bad weather, and an oracle that knows every event."""
