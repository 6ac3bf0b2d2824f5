"""Protocols, settings and choices in words, with the numbers of one record in them."""

from repr_eval.records import Record, facts_of

_LISTS = "Which images these are is fixed by the seed; the record has the hash of the lists."
# Kind of protocol -> what is done. `repr_eval.protocols` freezes these names.
_KINDS = {
    "all-labels/1": "All {labels:,} training labels. The classifier's setting is chosen on {validation_n:,} held-out "
    "training images, as many of each class; then one classifier is fitted to every training image and tested once.",
    "all-labels/2": "All {labels:,} training labels. The classifier's setting is chosen on {validation_n:,} held-out "
    "training images, a fifth of each class; then one classifier is fitted to every training image and tested once.",
    "per-class/1": "{labels:,} labels, as many of each class, drawn {draws}. Of each draw a fifth ({validation_n:,} "
    "images) is held out; the setting with the best mean over the draws is used for all. Then each draw is fitted "
    "whole and tested once. The other training labels are never used.",
    "few-labels/1": "{labels:,} labels, as many of each class. {validation_n:,} training images are held out; the "
    "setting is the best on them by the mean of {folds}. Then {draws} fresh draws are fitted and tested.",
}


def protocol_words(record: Record) -> str:
    """What was done, in sentences; of a protocol that is not the suite's own, the counts alone."""
    facts = facts_of(record)
    kind = facts.protocol.partition("/")[2]
    draws = len(record.test_correct)
    folds = len(next(iter(record.validation_correct.values()), []))
    numbers = {
        "labels": record.labels,
        "validation_n": record.validation_n,
        "draws": times(draws) if kind == "per-class/1" else f"{draws:,}",
        "folds": "one draw" if folds == 1 else f"{folds:,} draws",
    }
    known = _KINDS.get(kind, "A protocol of its own: {labels:,} labels, {draws} classifiers tested.")
    words = known.format(**numbers) + f" The test set has {record.test_n:,} images, and no part in any choice."
    if facts.other_grid:
        words += " The setting was chosen from another grid than the protocol's."
    return f"{words} {_LISTS}"


def times(number: int) -> str:
    """ "once", "10 times"."""
    return "once" if number == 1 else f"{number:,} times"


def setting_name(record: Record) -> str:
    """What the classifier's one setting is called."""
    names = {"L2-SVM": "C", "kNN": "k", "weighted kNN": "k", "logistic regression": "C", "ridge": "alpha"}
    return names.get(facts_of(record).classifier, "setting")
