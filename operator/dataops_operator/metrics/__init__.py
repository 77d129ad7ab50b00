"""What the operator counts and how it is scraped."""
