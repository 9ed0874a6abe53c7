"""How good predictions are: micro precision, recall and F1, phrase matching, bootstrap intervals."""
