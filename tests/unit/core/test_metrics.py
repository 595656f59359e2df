"""Metrics on a hand-checked table, and the properties of the paired statistics."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.core.metrics import (
    acc,
    bootstrap_ci,
    compare,
    em,
    f1,
    holm,
    kappa,
    mcnemar,
    paired,
    precision,
    recall,
    retrieval_recall,
)
from wbrag.core.normalise import FLASHRAG, UNICODE, normalise

# prediction, golden answers, em, f1, acc; worked out by hand from FlashRAG's definitions
TABLE: list[tuple[str, list[str], float, float, float]] = [
    ("Paris", ["Paris"], 1, 1, 1),
    ("  The  PARIS. ", ["paris"], 1, 1, 1),
    ("It is Paris", ["Paris"], 0, 1 / 2, 1),
    ("London", ["Paris"], 0, 0, 0),
    ("", ["Paris"], 0, 0, 0),
    ("?!", ["Paris"], 0, 0, 0),
    ("Paris", [], 0, 0, 0),
    # several golden answers: the best counts
    ("Paris France", ["Paris", "Paris, France"], 1, 1, 1),
    ("Barack Obama", ["Obama", "President Barack Obama"], 0, 4 / 5, 1),
    ("yes", ["no", "yes"], 1, 1, 1),
    # yes, no, noanswer: token F1 is all or nothing
    ("Yes.", ["yes"], 1, 1, 1),
    ("yes it is", ["yes"], 0, 0, 1),
    ("yes", ["yes it is"], 0, 0, 0),
    ("no", ["noanswer"], 0, 0, 0),
    ("noanswer", ["no"], 0, 0, 1),
    ("no", ["no idea", "no"], 1, 1, 1),
    # articles
    ("an apple a day", ["apple day"], 1, 1, 1),
    ("theatre", ["the atre"], 0, 0, 1),
    # punctuation vanishes, and joins what it stood between
    ("don't", ["dont"], 1, 1, 1),
    ("U.S.A.", ["USA"], 1, 1, 1),
    ("well-known", ["well known"], 0, 0, 0),
    # only ASCII punctuation goes, only case is folded
    ("Zürich", ["ZÜRICH"], 1, 1, 1),
    ("Zurich", ["Zürich"], 0, 0, 0),
    ("“Paris”", ["Paris"], 0, 0, 1),
    ("東京都", ["東京"], 0, 0, 1),
    ("New\u00a0York", ["new york"], 1, 1, 1),
    # acc is a substring of letters, F1 a bag of words
    ("1984", ["84"], 0, 0, 1),
    ("York New", ["New York"], 0, 1, 0),
    ("new york new york", ["new york"], 0, 2 / 3, 1),
    ("SUPPORTS", ["supports"], 1, 1, 1),
    ("NOT ENOUGH INFO", ["not enough info"], 1, 1, 1),
]
# Golden answers of which nothing is left: FlashRAG finds them in every reply.
NOTHING_LEFT: list[tuple[str, list[str], float, float, float]] = [
    ("A", ["A"], 1, 1, 1),
    ("A.", ["a"], 1, 1, 1),
    ("(A)", ["A"], 1, 1, 1),
    ("B", ["A"], 0, 0, 0),
    ("The answer is A.", ["A"], 0, 0, 1),
    ("It is a boat", ["A"], 0, 0, 0),
    ("the", ["a"], 0, 0, 0),
    ("Paris", ["The"], 0, 0, 0),
    ("The The", ["The The"], 1, 1, 1),
    ("by The The, in 1986", ["The The"], 0, 0, 1),
    ("Odran Pell", ["?"], 0, 0, 0),
    ("?", ["?"], 1, 1, 1),
    ("who ?", ["?"], 0, 0, 1),
    ("?!", ["?"], 0, 0, 0),
    ("", [""], 1, 1, 1),
    ("Paris", [""], 0, 0, 0),
]
# prediction, golden answer, and what the form for any script makes of them: em, f1, acc
SCRIPTS: list[tuple[str, str, float, float, float]] = [
    ("東京。", "東京", 1, 1, 1),
    ("「東京」です", "東京", 0, 2 * 2 / 6, 1),
    ("東京 都", "東京都", 1, 1, 1),
    ("東京都", "京都府", 0, 2 / 3, 0),
    ("¿Madrid?", "madrid", 1, 1, 1),
    ("«Paris»", "Paris", 1, 1, 1),
    ("القاهرة،", "القاهرة", 1, 1, 1),
    ("مُحَمَّد", "محمد", 1, 1, 1),
    ("Cafe\u0301", "CAFÉ", 1, 1, 1),
    ("STRASSE", "Straße", 1, 1, 1),
    ("ＡＢＣ", "abc", 1, 1, 1),
    ("im Jahr ١٨٧١", "1871", 0, 1 / 2, 1),
    ("İstanbul", "istanbul", 1, 1, 1),
    ("L’Aquila", "l'aquila", 1, 1, 1),
    ("the Café", "café", 1, 1, 1),
    ("Zurich", "Zürich", 0, 0, 0),
    ("สะพาน", "สะพาน", 1, 1, 1),
    ("、", "。", 0, 0, 0),
]
texts = st.text("ab the.,é", max_size=12)
scores = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@pytest.mark.parametrize(("prediction", "golden", "exact", "tokens", "contained"), TABLE)
def test_table(prediction: str, golden: list[str], exact: float, tokens: float, contained: float) -> None:
    assert em(prediction, golden) == exact
    assert f1(prediction, golden) == pytest.approx(tokens)
    assert acc(prediction, golden) == contained


@pytest.mark.parametrize(("prediction", "golden", "exact", "tokens", "contained"), NOTHING_LEFT)
def test_golden_answers_of_which_nothing_is_left(
    prediction: str, golden: list[str], exact: float, tokens: float, contained: float
) -> None:
    assert (em(prediction, golden), acc(prediction, golden)) == (exact, contained)
    assert f1(prediction, golden) == tokens


@pytest.mark.parametrize(("prediction", "golden", "exact", "tokens", "contained"), SCRIPTS)
def test_the_form_for_any_script(prediction: str, golden: str, exact: float, tokens: float, contained: float) -> None:
    assert (em(prediction, [golden], UNICODE), acc(prediction, [golden], UNICODE)) == (exact, contained)
    assert f1(prediction, [golden], UNICODE) == pytest.approx(tokens)


@given(st.text(max_size=12))
def test_forms_are_final(text: str) -> None:
    for by in (FLASHRAG, UNICODE):
        assert by.form(by.form(text)) == by.form(text)
        assert em(text, [text], by) == acc(text, [text], by) == 1


@settings(max_examples=50, deadline=None)
@given(texts, st.lists(texts, max_size=4))
def test_metrics_relate(prediction: str, golden: list[str]) -> None:
    assert em(prediction, golden) <= acc(prediction, golden)
    assert 0 <= f1(prediction, golden) <= 1
    if normalise(prediction):
        assert em(prediction, golden) <= f1(prediction, golden)
    for metric in (em, f1, acc):
        assert metric(prediction, golden) == metric(prediction, golden[::-1])
        assert metric(prediction, [*golden, "zz"]) >= metric(prediction, golden)
    assert normalise(normalise(prediction)) == normalise(prediction)


@settings(max_examples=30, deadline=None)
@given(scores, st.integers(0, 5))
def test_bootstrap_is_reproducible_and_inside_the_data(values: list[float], seed: int) -> None:
    interval = bootstrap_ci(values, samples=600, seed=seed)
    assert interval == bootstrap_ci(values, samples=600, seed=seed)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


def test_bootstrap_known_values() -> None:
    assert bootstrap_ci([]) == (0.0, 0.0)
    assert bootstrap_ci([0.25] * 4, samples=100) == (0.25, 0.25)
    half = [0.0, 1.0] * 50
    assert bootstrap_ci(half, samples=99, seed=0) != bootstrap_ci(half, samples=99, seed=1)
    low, high = bootstrap_ci(half)  # mean 0.5, standard error 0.05
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_mcnemar_known_values() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 / 2**6)
    # 2 (1 + 27 + 351 + 2925 + 17550 + 80730 + 296010 + 888030) / 2^27
    assert mcnemar(20, 7) == pytest.approx(2 * 1_285_624 / 2**27)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_symmetric_and_a_probability(wins: int, losses: int) -> None:
    assert mcnemar(wins, losses) == pytest.approx(mcnemar(losses, wins))
    assert 0 < mcnemar(wins, losses) <= 1


def test_compare() -> None:
    result = compare([0, 1, 0.4, 0.5], [1, 0, 0.5, 1])
    assert (result.wins, result.losses) == (2, 1)  # from 0.5 a question is right
    assert result.gain == pytest.approx((1 - 1 + 0.1 + 0.5) / 4)
    assert result.ci95.low <= result.gain <= result.ci95.high
    assert result.p == mcnemar(2, 1)
    assert compare([], []) == (0.0, (0.0, 0.0), 1.0, 0, 0)
    with pytest.raises(ValueError, match="found 1 and 2"):
        compare([1], [1, 0])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=10))
def test_compare_swapped_is_the_opposite(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    forth, back = compare(a, b), compare(b, a)
    assert forth.gain == pytest.approx(-back.gain)
    assert (forth.wins, forth.losses) == (back.losses, back.wins)
    assert forth.ci95.low == pytest.approx(-back.ci95.high)
    assert forth.p == pytest.approx(back.p)


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_never_lowers(p: list[float]) -> None:
    corrected = holm(p)
    assert all(p_i <= c <= 1 for p_i, c in zip(p, corrected))
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [corrected[i] for i in order] == sorted(corrected)


# prediction, golden answers, precision, recall; worked out by hand from FlashRAG's definitions
@pytest.mark.parametrize(
    ("prediction", "golden", "expected_precision", "expected_recall"),
    [
        ("red kite", ["the red kite"], 1, 1),
        ("a big red kite", ["red kite"], 2 / 3, 1),
        ("red", ["red kite", "red"], 1, 1),
        ("red owl", ["red kite soars", "owl"], 1 / 2, 1),  # each is the best over the answers
        ("yes", ["yes it is"], 0, 0),
        ("yes it is", ["yes"], 0, 0),
        ("no", ["no"], 1, 1),
        ("", ["kite"], 0, 0),
        ("kite", [], 0, 0),
        ("Ångström", ["ångström"], 1, 1),
    ],
)
def test_precision_and_recall(
    prediction: str, golden: list[str], expected_precision: float, expected_recall: float
) -> None:
    assert precision(prediction, golden) == pytest.approx(expected_precision)
    assert recall(prediction, golden) == pytest.approx(expected_recall)


def test_retrieval_recall_looks_for_any_answer_in_any_document() -> None:
    assert retrieval_recall(["Owl\nIt sits.", "Kite\nThe Red Kite soars."], ["a red kite", "falcon"]) == 1.0
    assert retrieval_recall(["Owl\nIt sits."], ["red kite"]) == retrieval_recall([], ["red kite"]) == 0.0


def test_kappa_is_agreement_beyond_chance() -> None:
    assert kappa([True, False, True, False], [True, False, True, False]) == 1.0
    assert kappa([True, True, False, False], [True, False, True, False]) == pytest.approx(0.0)
    assert kappa([True] * 3, [True] * 3) == 1.0
    assert kappa(
        [True] * 20 + [False] * 15 + [True] * 5 + [False] * 10, [True] * 20 + [False] * 15 + [False] * 5 + [True] * 10
    ) == pytest.approx(0.4)


def test_a_failed_row_is_no_wrong_answer_in_a_pair() -> None:
    a = [{"score": 1.0, "error": ""}, {"score": 0.0, "error": "no reply"}, {"score": 0.0, "error": ""}]
    b = [{"score": 1.0, "error": ""}, {"score": 1.0, "error": ""}, {"score": 1.0, "error": ""}]
    assert paired(a, b) == ([1.0, 0.0], [1.0, 1.0])
