"""Content-addressed store, manifests, the catalogue."""
