"""What a protocol trains on features: the L2-SVM, k nearest neighbours, a supervised CNN."""
