"""The HTTP client of OpenAI-compatible servers: connections, host selection, rate limits, request and response formats.

Retries are in `speakers/endpoint`; caching of earlier calls is in `ledger`.
"""
