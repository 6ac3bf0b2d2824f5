"""Measures of a representation that need no labels: pure functions of matrices.

    from repr_eval.measures import alpha_req, effective_rank, linear_cka, rank_me

A matrix holds features [n, D] of n images: any type of real numbers, a memory map too. It is read
in blocks; no function makes a float64 copy of it, nor an n x n array where D is smaller.
"""

from repr_eval.measures.similarity import SimilarityTable, linear_cka, similarity_table
from repr_eval.measures.spectrum import (
    PowerLaw,
    Spectra,
    alpha_of,
    alpha_req,
    effective_rank,
    effective_rank_of,
    rank_me,
    rank_me_of,
    spectra,
)

__all__ = [
    "PowerLaw",
    "SimilarityTable",
    "Spectra",
    "alpha_of",
    "alpha_req",
    "effective_rank",
    "effective_rank_of",
    "linear_cka",
    "rank_me",
    "rank_me_of",
    "similarity_table",
    "spectra",
]
