"""Metrics, one file each: `compute(outputs, targets)` gives a 0-d tensor, NaN where undefined.

Classification: outputs (N, C) are probabilities, targets (N,) class numbers, C for a class that
training has not seen. With two classes, f1, precision, recall and roc_auc are those of the second
one (labels are sorted, so 1 of 0 and 1); with more they are the mean over the classes.
Regression: outputs and targets (N,) are in the target's own units. Of several targets each is
measured on its own and the mean is taken, but for exact_match, which sees all K: (N, K, 2), (N, K).
"""
