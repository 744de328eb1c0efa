"""Statistics of a dataset: measured in one pass, and shown as text, Markdown, CSV or an HTML page."""
