"""The kinds: pydantic models, their conditions, and the CRDs generated from them."""
