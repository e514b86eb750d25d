"""The steps: plain functions that decide, and the thin PTransforms that wire them."""
