"""Asking a model about reports: what is asked, the run, its ledger of answers and their rows, costs, batches."""
