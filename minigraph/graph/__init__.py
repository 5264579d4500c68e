"""Graphs to look at: traced, drawn, measured, and as a page that plays them."""

from .page import page
