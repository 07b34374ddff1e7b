"""The Prefect flow."""
