"""CrmDirectory: one team's people, domains and blocklists in a compact form, and the questions a mail asks of it."""
