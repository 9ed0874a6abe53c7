"""A study: which cells it runs, and the tables, figures and report page made of their scores."""
