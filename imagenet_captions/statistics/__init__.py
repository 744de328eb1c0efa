"""What is in a dataset: measured in one pass, and shown as text, Markdown, CSV and a page."""
