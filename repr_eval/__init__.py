"""repr-eval: evaluates unsupervised image representations by the DCGAN paper's protocols.

Data flows one way, and a module imports only from those before it:
images -> gan -> representations -> svm -> classifiers -> protocols -> records -> reporting.
"""

__version__ = "0.1.0"
