"""What a protocol trains on features: L2-SVM, nearest neighbours, logistic regression, ridge, a CNN."""
