"""The sample mailboxes of one sales team, with the decision that each message must get."""
