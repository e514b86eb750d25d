"""The search index as dealmail needs it: one interface, one document form; Elasticsearch and FTS5 implement it."""
