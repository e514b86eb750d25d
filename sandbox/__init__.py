"""Gmail and Pub/Sub stand-ins that speak the real protocols over sample or own mail."""
