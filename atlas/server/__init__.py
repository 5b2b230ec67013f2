"""Serving: the page and a store over HTTP, as any static host would. It needs neither torch nor ray."""

from atlas.server.serving import app_of, put_page, serve

__all__ = ["app_of", "put_page", "serve"]
