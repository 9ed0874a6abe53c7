"""Labelling reports with a chat model: the endpoint and its guard, the calls, the ledger of answers, the rows."""
