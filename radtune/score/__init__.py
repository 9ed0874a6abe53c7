"""How good predictions are: scores with intervals, phrase matching, agreement, comparison, kinds of error."""
