"""Text as inputs: terms as scikit-learn counts them, tokens as `tokenizers` cuts them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import make_union
from tokenizers import Tokenizer, models, pre_tokenizers

from app.specs.text import BagOfWordsSpec, CharactersSpec, TfIdfSpec, TokensSpec
from tests.worker.conftest import Recorder, make_spec, make_text_rows, next_attempt, stop_at
from tests.worker.engine.test_bundle import predict_apart, unpack
from worker.data.features import Features
from worker.data.fit_text import fit_all_terms, fit_terms, fit_tokens
from worker.data.rows import SparseRows
from worker.data.targets import fit_classes
from worker.data.text import choose_tokenizer, join_sparse, make_sparse
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]
TEXTS: list[str | None] = [
    "The cat  sat on the mat; the Mat sat.",
    "A dog's day: 3 dogs, 12 days",
    "über Straße, naïve café",
    "cat",
    "the the the cat dog dog",
    "a b c",
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"ngram_max": 2, "sublinear": True}, {"ngram_range": (1, 2), "sublinear_tf": True}),
        ({"min_df": 2, "max_df": 0.5}, {"min_df": 2, "max_df": 0.5}),
        ({"analyzer": "token"}, {"token_pattern": r"\w+|[^\w\s]+"}),
        ({"lowercase": False, "max_features": 1}, {"lowercase": False, "max_features": 1}),
        (
            {"analyzer": "character", "ngram_min": 2, "ngram_max": 4},
            {"analyzer": "char", "ngram_range": (2, 4)},
        ),
    ],
)
def test_tf_idf_is_that_of_scikit_learn(ours: Any, theirs: Any) -> None:
    fitted = fit_terms("t", TEXTS, TfIdfSpec(**ours))
    reference = TfidfVectorizer(**theirs).fit([text or "" for text in TEXTS])
    new = [*TEXTS, "the unseen cat"]
    expected = torch.tensor(reference.transform(new).toarray())
    assert list(fitted.terms) == list(reference.get_feature_names_out())
    torch.testing.assert_close(fitted.encode(new).to_dense().double(), expected, atol=1e-6, rtol=0)


def test_characters_stand_beside_words() -> None:
    """As a union of two vectorizers of scikit-learn, each of whose rows has length 1."""
    spec = TfIdfSpec(characters=CharactersSpec(ngram_min=2, ngram_max=3, min_df=2))
    texts = [text or "" for text in TEXTS]
    union = make_union(
        TfidfVectorizer(), TfidfVectorizer(analyzer="char", ngram_range=(2, 3), min_df=2)
    )
    expected = torch.tensor(union.fit(texts).transform(texts).toarray())
    encoded = join_sparse([part.encode(TEXTS) for part in fit_all_terms("t", TEXTS, spec)])
    torch.testing.assert_close(encoded.to_dense().double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("binary", [False, True])
def test_a_bag_of_words_is_that_of_scikit_learn(binary: bool) -> None:
    encoded = fit_terms("t", TEXTS, BagOfWordsSpec(binary=binary)).encode(TEXTS)
    expected = CountVectorizer(binary=binary).fit_transform(TEXTS).toarray()
    assert encoded.layout == torch.sparse_csr
    assert encoded.to_dense().tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_tokens_are_those_of_the_tokenizers_library(kind: Any) -> None:
    texts = [str(text).lower() for text in TEXTS] * 3
    fitted = fit_tokens("t", list(texts), TokensSpec(tokenizer=kind, vocabulary=300))
    numbers = {token: number for number, token in enumerate(fitted.vocabulary)}
    model = (
        models.BPE(vocab=numbers, merges=list(fitted.merges))
        if kind == "bpe"
        else models.WordPiece(vocab=numbers | {"[UNK]": len(numbers)}, unk_token="[UNK]")
    )
    reference = Tokenizer(model)
    reference.pre_tokenizer = pre_tokenizers.Whitespace()
    split = choose_tokenizer(kind, fitted.vocabulary, fitted.merges)
    for text in [*texts, "cats and mats sat; today's dogs"]:
        known = [token for token in split(text) if token in numbers]
        assert known == [t for t in reference.encode(text).tokens if t != "[UNK]"]


@pytest.mark.parametrize("kind", ["word", "character", "byte", "bpe", "wordpiece"])
def test_tokenizers_know_their_training_texts_and_survive_json(kind: Any) -> None:
    spec = TokensSpec(tokenizer=kind, max_length=12)
    features = Features([fit_tokens("t", TEXTS, spec)], fit_classes("y", ["a", "b"]))
    again = Features.from_json(json.loads(json.dumps(features.to_json())))
    assert again == features
    encoded, _ = again.encode({"t": [*TEXTS, None, "☃☃"]})
    assert encoded.shape[1] <= 12
    assert (encoded[: len(TEXTS)] != 1).all()
    assert encoded[-2].tolist()[:2] == [1, 0]  # an empty text
    assert encoded[-1, 0] == 1
    assert encoded.max() < features.shape[0]


def test_rows_are_taken_out_of_a_sparse_matrix() -> None:
    starts, columns = torch.tensor([0, 2, 2, 3, 5]), torch.tensor([0, 3, 1, 0, 2])
    matrix = make_sparse(starts, columns, torch.arange(1.0, 6.0), 4)
    rows = SparseRows(matrix)
    order = torch.tensor([3, 0, 1, 3])
    taken = rows.index_select(0, order)
    assert torch.equal(
        torch.cat([part.to_dense() for part in taken.split(3)]), matrix.to_dense()[order]
    )


# ---------------------------------------------------------------- whole jobs

TERMS = {"type": "tf_idf", "columns": ["text"], "ngram_max": 2}
JOBS: dict[str, dict[str, Any]] = {
    "logistic": {"model": {"type": "logistic"}, "dataset": {"text": TERMS}},
    "mlp": {
        "model": {"type": "mlp"},
        "dataset": {"text": {"type": "bag_of_words", "columns": ["text"]}},
    },
    "logistic characters": {
        "model": {"type": "logistic"},
        "dataset": {"text": {**TERMS, "characters": {"ngram_max": 3}}},
    },
    "cnn": {"model": {"type": "cnn"}},
    "rnn": {"model": {"type": "rnn"}},
    **{
        f"rnn {tokenizer}": {
            "model": {"type": "rnn", "pool": "max", "cell": "gru", "bidirectional": True},
            "dataset": {"text": {"type": "tokens", "columns": ["text"], "tokenizer": tokenizer}},
        }
        for tokenizer in ("character", "byte", "bpe", "wordpiece")
    },
}


def make_job(name: str, **training: Any) -> Any:
    optimizer = {"type": "adam", "lr": 0.02}
    dataset = {"split": {}, "test_id": "ds_" + "1" * 32} | JOBS[name].get("dataset", {})
    return make_spec(
        model=JOBS[name]["model"],
        dataset=dataset,
        training={"epochs": 30, "batch_size": 16, "optimizer": optimizer} | training,
    )


@pytest.mark.parametrize("name", JOBS)
def test_text_is_learned_and_the_bundle_predicts_what_was_measured(
    ask: Ask, tmp_path: Path, name: str
) -> None:
    rows, test = make_text_rows(120), make_text_rows(40, seed=1)
    test["text"][:2] = [None, "words that nobody has seen"]
    request, recorder = ask(make_job(name), rows, test), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    assert evaluation["test"]["accuracy"] >= 0.85
    losses = [value for series, _, value in recorder.points if series == "train/loss"]
    assert losses[-1] < losses[0] / 2
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    answers = predict_apart(folder, test)
    right = sum(a == y for a, y in zip(answers, test["y"], strict=True))
    assert right / 40 == pytest.approx(evaluation["test"]["accuracy"])


@pytest.mark.parametrize("name", JOBS)
def test_a_cut_changes_nothing_and_neither_does_running_again(ask: Ask, name: str) -> None:
    contents = []
    for cut in (None, 11):
        request = ask(make_job(name, epochs=3), make_text_rows(), make_text_rows(20))
        if cut:
            run(request, stop_at(cut))
            request = next_attempt(request, request.folder / f"s{cut}")
        recorder = Recorder()
        run(request, recorder)
        (last,) = {each.name for each in recorder.checkpoints if each.step == 12} or {""}
        contents.append((request.folder.parent / last / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]


def test_sparse_rows_stay_in_float32(ask: Ask) -> None:
    """torch has no product of them in bfloat16."""
    losses = []
    for precision in ("float32", "bfloat16"):
        request = ask(make_job("mlp", epochs=1, precision=precision), make_text_rows())
        evaluation = run(request, Recorder()).evaluation
        assert evaluation is not None
        losses.append(evaluation["validation"]["loss"])
    assert losses[0] == losses[1]


def test_numbers_beside_text_may_be_too_large_as_well(ask: Ask) -> None:
    rows = make_text_rows()
    rows["a"][7] = 1e300
    dataset = {"inputs": ["text", "a"], "text": TERMS, "scale": "none"}
    with pytest.raises(DataError, match="'a' holds numbers too large"):
        run(ask(make_spec(dataset=dataset), rows), Recorder())
