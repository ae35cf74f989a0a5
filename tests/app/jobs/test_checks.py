from typing import Any

import pytest

from app.datasets.tables import Dataset
from app.errors import FieldError, ResourceLimit, ValidationError
from app.jobs.checks import Plan, resolve
from app.specs import JobSpec
from app.specs.columns import Column, SequenceFacts
from app.specs.data import ColumnKind
from tests.factories import category, flower_columns, job_body, number

DATASET_ID = f"ds_{'1' * 32}"
TEST_ID = f"ds_{'2' * 32}"
LINEAR = {"type": "linear"}
MLP = {"type": "mlp"}


def table(*columns: Column, rows: int = 150) -> Dataset:
    return Dataset(rows=rows, columns=[column.model_dump(mode="json") for column in columns])


def plan(*columns: Column, rows: int = 150, test: Dataset | None = None, **parts: Any) -> Plan:
    if test is not None:
        parts["dataset"] = {"test_id": TEST_ID} | parts.get("dataset", {})
    spec = JobSpec.model_validate(job_body(DATASET_ID, **parts))
    return resolve(spec, table(*(columns or flower_columns()), rows=rows), test)


def errors_of(*columns: Column, **parts: Any) -> list[FieldError]:
    with pytest.raises(ValidationError) as caught:
        plan(*columns, **parts)
    return caught.value.errors


def error_of(*columns: Column, **parts: Any) -> tuple[str, str]:
    (error,) = errors_of(*columns, **parts)
    return ".".join(str(part) for part in error["loc"]), error["message"]


@pytest.mark.parametrize("model", [{"type": "logistic"}, MLP])
def test_a_resolved_spec_resolves_to_itself(model: dict[str, Any]) -> None:
    first = plan(model=model).spec
    again = resolve(first, table(*flower_columns()), None).spec
    assert again == first
    assert JobSpec.model_validate(first.model_dump(mode="json")) == first


# ---------------------------------------------------------------- what is filled in


@pytest.mark.parametrize(
    ("target", "task", "loss"),
    [
        (category("species", "x", "y"), "classification", "binary_cross_entropy"),
        (category("species", "x", "y", "z"), "classification", "cross_entropy"),
        (number("species", integer=True, distinct=20, rarest=5), "classification", "cross_entropy"),
        (number("species", integer=True, distinct=21), "regression", "mse"),
        (number("species", distinct=3), "regression", "mse"),
    ],
)
def test_the_task_follows_the_target(target: Column, task: str, loss: str) -> None:
    spec = plan(number("length"), target, model=MLP).spec
    assert spec.model.tasks() == (task,)
    assert spec.training.loss != "auto"
    assert spec.training.loss.type == loss
    metrics = {"classification": ["accuracy", "f1"], "regression": ["r2", "mae", "rmse"]}
    assert spec.evaluation.metrics == metrics[task]


def test_a_watched_metric_is_measured() -> None:
    spec = plan(checkpoints={"monitor": "validation/roc_auc"}).spec
    assert spec.evaluation.metrics == ["accuracy", "f1", "roc_auc"]


def test_the_test_share_is_zero_beside_a_test_dataset() -> None:
    assert plan().spec.dataset.split.test == 0.1
    planned = plan(test=table(*flower_columns(), rows=40))
    assert planned.spec.dataset.split.test == 0.0
    assert (planned.rows.train, planned.rows.validation, planned.rows.test) == (135, 15, 40)


def test_a_rare_class_turns_stratification_off_with_a_warning() -> None:
    rare = category("species", "x", "y", rarest=2)
    planned = plan(number("length"), rare)
    assert planned.spec.dataset.split.stratify is False
    assert "2 rows" in planned.warnings[0]["message"]
    loc, message = error_of(number("length"), rare, dataset={"split": {"stratify": True}})
    assert loc == "dataset.split.stratify"
    assert "set stratify to false" in message


def test_parameters_are_counted_after_encoding() -> None:
    columns = [number("a"), category("b", "x", "y", missing=3), category("species", "p", "q", "r")]
    assert plan(*columns).parameter_count == 3 * (1 + 3 + 1)


# ---------------------------------------------------------------- what is refused


def test_an_absent_column_is_answered_with_the_closest_names() -> None:
    loc, message = error_of(dataset={"inputs": ["width", "lenght"]})
    assert loc == "dataset.inputs.1"
    assert "'lenght'" in message
    assert "'length'" in message


def test_text_and_time_columns_are_named_with_the_fix() -> None:
    columns = [*flower_columns(), Column(name="note", kind="text"), Column(name="day", kind="time")]
    loc, message = error_of(*columns)
    assert loc == "dataset.inputs"
    assert "'note', 'day'" in message
    assert "list `inputs` without them" in message
    assert plan(*columns, dataset={"inputs": ["length"]}).spec.dataset.inputs == ["length"]


def test_an_empty_input_column_is_refused_and_a_constant_one_is_warned_about() -> None:
    empty = number("empty", missing=150, distinct=0)
    constant = number("same", distinct=1)
    loc, message = error_of(*flower_columns(), empty)
    assert loc == "dataset.inputs"
    assert "'empty'" in message
    assert "'same'" in plan(*flower_columns(), constant).warnings[0]["message"]


def test_missing_targets_are_counted_and_may_be_dropped() -> None:
    target = category("species", "x", "y", missing=7, first_missing_row=12)
    loc, message = error_of(number("length"), target)
    assert loc == "dataset.target"
    for part in ("'species'", "7 rows", "row 12", "missing_target to drop"):
        assert part in message
    planned = plan(number("length"), target, dataset={"missing_target": "drop"})
    assert planned.rows.usable == 143


@pytest.mark.parametrize(
    ("target", "model", "part"),
    [
        (category("species", "x"), {"type": "logistic"}, "nothing to learn"),
        (number("species", distinct=1), LINEAR, "nothing to learn"),
        (number("species", distinct=1), LINEAR, "choose another target, or upload rows with"),
        (category("species", "x", "y"), LINEAR, "use logistic or mlp"),
        (category("species", "x", "y"), {"type": "mlp", "task": "regression"}, "model.task"),
        (number("species"), {"type": "logistic"}, "fractional values"),
        (Column(name="species", kind="text", distinct=9), LINEAR, "holds text"),
        (category("species", distinct=10_001), {"type": "logistic"}, "10001 classes"),
        (number("species", distinct=0, missing=150), LINEAR, "has no values"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(
    target: Column, model: dict[str, Any], part: str
) -> None:
    found = errors_of(number("length"), target, model=model, dataset={"missing_target": "drop"})
    assert {tuple(error["loc"]) for error in found} == {("dataset", "target")}
    assert part in found[0]["message"]


@pytest.mark.parametrize(("rows", "fits"), [(3, False), (4, True)])
def test_every_part_needs_rows(rows: int, fits: bool) -> None:
    if fits:
        counted = plan(rows=rows).rows
        assert (counted.train, counted.validation, counted.test) == (2, 1, 1)
    else:
        loc, message = error_of(rows=rows)
        assert loc == "dataset.split"
        assert "3 usable rows" in message


@pytest.mark.parametrize(
    ("parts", "loc"),
    [
        ({"evaluation": {"metrics": ["accuracy", "r2"]}}, "evaluation.metrics.1"),
        ({"checkpoints": {"monitor": "validation/r2"}}, "checkpoints.monitor"),
        ({"training": {"loss": {"type": "mse"}}}, "training.loss"),
        (
            {"training": {"early_stopping": {"metric": "validation/mae"}}},
            "training.early_stopping.metric",
        ),
        (
            {
                "training": {"early_stopping": {}},
                "dataset": {"split": {"validation": 0.0}},
            },
            "training.early_stopping",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused(parts: dict[str, Any], loc: str) -> None:
    assert error_of(**parts)[0] == loc


def test_two_class_loss_needs_two_classes() -> None:
    loss = {"loss": {"type": "binary_cross_entropy"}}
    loc, message = error_of(number("length"), category("species"), training=loss)
    assert loc == "training.loss"
    assert "3 classes" in message


@pytest.mark.parametrize(
    ("column", "by", "part"),
    [
        (category("k", "x", "y"), "group", "2 groups for 3 parts"),
        (category("k", "x", "y", "z"), "time", "no order in time"),
        (category("k", "train", "x"), "column", "holds 'x'"),
        (number("k", missing=3), "time", "missing in 3 rows"),
        (number("other"), "group", "no column 'k'"),
    ],
)
def test_a_split_that_its_column_cannot_make_is_refused(column: Column, by: str, part: str) -> None:
    split = {"split": {"by": by, "column": "k"}}
    loc, message = error_of(*flower_columns(), column, dataset=split)
    assert loc == "dataset.split.column"
    assert part in message


@pytest.mark.parametrize("kind", ["image", "sequence"])
@pytest.mark.parametrize(
    ("parts", "loc", "part"),
    [
        ({}, "dataset.inputs", "cannot train on"),
        ({"dataset": {"inputs": ["length"], "target": "k"}}, "dataset.target", "no model"),
        ({"dataset": {"split": {"by": "group", "column": "k"}}}, "dataset.split.column", "belongs"),
    ],
)
def test_a_column_that_a_table_cannot_hold_is_refused(
    kind: ColumnKind, parts: dict[str, Any], loc: str, part: str
) -> None:
    column = Column(name="k", kind=kind, distinct=150)
    found = error_of(*flower_columns(), column, **parts)
    assert found[0] == loc
    assert part in found[1]
    assert kind in found[1]


def test_the_column_of_a_split_is_no_input_and_counts_its_own_rows() -> None:
    column = Column(
        name="k",
        kind="category",
        distinct=3,
        values=[("train", 100), ("test", 30), ("validation", 20)],
    )
    split = {"split": {"by": "column", "column": "k"}}
    planned = plan(*flower_columns(), column, dataset=split)
    assert "k" not in (planned.spec.dataset.inputs or [])
    assert (planned.rows.train, planned.rows.validation, planned.rows.test) == (100, 20, 30)
    again = resolve(planned.spec, table(*flower_columns(), column), None)
    assert again.spec == planned.spec


def part_column(*values: tuple[str, int]) -> Column:
    return Column(name="k", kind="category", distinct=len(values), values=list(values))


def test_validation_rows_that_no_row_names_are_a_share_of_the_training_rows() -> None:
    column = part_column(("train", 120), ("test", 30))
    split: dict[str, Any] = {"by": "column", "column": "k"}
    planned = plan(*flower_columns(), column, dataset={"split": split})
    assert (planned.rows.train, planned.rows.validation, planned.rows.test) == (108, 12, 30)
    assert planned.spec.dataset.split.stratify is True
    again = JobSpec.model_validate(planned.spec.model_dump(mode="json"))
    assert resolve(again, table(*flower_columns(), column), None).spec == planned.spec
    none = plan(*flower_columns(), column, dataset={"split": {**split, "validation": 0}})
    assert (none.rows.train, none.rows.validation, none.rows.test) == (120, 0, 30)
    assert none.spec.dataset.split.stratify is False
    only = plan(*flower_columns(), part_column(("train", 150)), dataset={"split": split})
    assert (only.rows.train, only.rows.validation, only.rows.test) == (135, 15, 0)


def test_what_a_column_names_is_not_stratified() -> None:
    column = part_column(("train", 100), ("test", 30), ("validation", 20))
    split = {"by": "column", "column": "k", "stratify": True}
    loc, message = error_of(*flower_columns(), column, dataset={"split": split})
    assert loc == "dataset.split.stratify"
    assert "leave it out" in message


def test_a_column_of_parts_that_a_random_split_passes_over_is_warned_about() -> None:
    columns = [*flower_columns(), part_column(("train", 120), ("test", 30))]
    (warning,) = plan(*columns).warnings
    assert warning["loc"] == ["dataset", "split"]
    assert '{"by": "column", "column": "k"}' in warning["message"]
    assert plan(*columns, dataset={"split": {"by": "column", "column": "k"}}).warnings == []
    assert plan(*columns, dataset={"inputs": ["length", "k"]}).warnings == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("importance", "permutation"), ("explanations", [{"type": "integrated_gradients"}])],
)
def test_explanations_need_rows_to_look_at(field: str, value: Any) -> None:
    nothing = {"split": {"validation": 0.0, "test": 0.0}}
    loc, message = error_of(evaluation={field: value}, dataset=nothing)
    assert loc == f"evaluation.{field}"
    assert "set split.test" in message
    assert plan(evaluation={field: value})


def test_permutation_is_for_tables_and_gradients_are_for_all() -> None:
    text = Column(name="review", kind="text", distinct=150)
    parts: dict[str, Any] = {"model": {"type": "rnn"}, "dataset": {"inputs": ["review"]}}
    columns = (text, *flower_columns())
    loc, message = error_of(*columns, **parts, evaluation={"importance": "permutation"})
    assert loc == "evaluation.importance"
    assert "ask for explanations" in message
    asked = {"explanations": [{"type": "integrated_gradients"}]}
    assert plan(*columns, **parts, evaluation=asked)


def test_a_method_is_asked_for_once() -> None:
    asked = {"explanations": [{"type": "integrated_gradients"}, {"type": "integrated_gradients"}]}
    with pytest.raises(ValueError, match="lists a type twice"):
        plan(evaluation=asked)


@pytest.mark.parametrize(
    ("target", "model", "training", "part"),
    [
        (number("y"), LINEAR, {"class_weights": "balanced"}, "no classes to weigh"),
        (
            category("y", "p", "q"),
            MLP,
            {"class_weights": {"r": 2}},
            "no class 'r'; it has 'p', 'q'",
        ),
        (category("y", "p", "q"), MLP, {"class_weights": {"p": 0, "q": 0}}, "weight 0"),
        (number("y", min=-2.0), LINEAR, {"loss": {"type": "poisson"}}, "goes down to -2"),
    ],
)
def test_losses_that_do_not_fit_the_target_are_refused(
    target: Column, model: dict[str, Any], training: dict[str, Any], part: str
) -> None:
    columns, dataset = [number("length"), target], {"target": "y"}
    _, message = error_of(*columns, model=model, training=training, dataset=dataset)
    assert part in message
    fitting = {"class_weights": {"p": 0.5}} if target.kind == "category" else {}
    assert plan(*columns, model=model, training=fitting, dataset=dataset)


@pytest.mark.parametrize(
    ("test", "part"),
    [
        (table(number("length"), category("color"), category("species", "x", "y")), "'width'"),
        (
            table(
                number("length"),
                category("width"),
                category("color"),
                category("species", "x", "y"),
            ),
            "'width' holds category",
        ),
        (
            table(
                *flower_columns()[:3], category("species", "x", "y", missing=1, first_missing_row=4)
            ),
            "row 4",
        ),
    ],
)
def test_a_test_dataset_that_does_not_match_is_refused(test: Dataset, part: str) -> None:
    loc, message = error_of(test=test)
    assert loc == "dataset.test_id"
    assert part in message


def test_every_error_is_told_at_once() -> None:
    found = errors_of(
        evaluation={"metrics": ["r2"]},
        checkpoints={"monitor": "validation/mae"},
        training={"loss": {"type": "huber"}},
    )
    assert len(found) == 3


def test_a_job_over_the_memory_limit_is_refused() -> None:
    with pytest.raises(ResourceLimit):
        plan(model={"type": "mlp", "hidden": [65_536] * 10})
    loc, message = error_of(category("id", distinct=100_001), category("species", "x", "y"))
    assert loc == "dataset.inputs"
    assert "'id'" in message


# ---------------------------------------------------------------- text

NOTE = Column(name="note", kind="text", distinct=150)
CLASSES = category("species", "x", "y")


def test_text_is_counted_for_tables_where_asked() -> None:
    text = {"type": "tf_idf", "max_features": 1000}
    planned = plan(number("length"), NOTE, CLASSES, dataset={"text": text})
    assert planned.spec.dataset.text is not None
    assert planned.spec.dataset.text.columns == ["note"]
    both = {**text, "characters": {"max_features": 500}}
    wider = plan(number("length"), NOTE, CLASSES, dataset={"text": both})
    assert wider.parameter_count - planned.parameter_count == 500
    assert planned.parameter_count == 1 * (1 + 1000 + 1)
    assert "tf_idf" in error_of(number("length"), NOTE, CLASSES)[1]


@pytest.mark.parametrize("family", ["cnn", "rnn"])
def test_a_family_that_reads_in_order_gets_tokens(family: str) -> None:
    spec = plan(NOTE, CLASSES, model={"type": family}).spec
    assert spec.dataset.text is not None
    assert spec.dataset.text.type == "tokens"
    assert spec.model.tasks() == ("classification",)
    assert resolve(spec, table(NOTE, CLASSES), None).spec == spec


def test_where_nobody_says_what_to_read_text_is_read_alone() -> None:
    planned = plan(number("length"), NOTE, CLASSES, model={"type": "rnn"})
    assert planned.spec.dataset.inputs == ["note"]
    assert "without 'length'" in planned.warnings[0]["message"]


@pytest.mark.parametrize(
    ("columns", "parts", "where", "part"),
    [
        (
            (Column(name="k", kind="image", distinct=150),),
            {"model": {"type": "rnn"}},
            "dataset.inputs",
            "use cnn or mlp for pictures",
        ),
        (
            (number("length"), NOTE),
            {"model": {"type": "rnn"}, "dataset": {"inputs": ["length", "note"]}},
            "dataset.inputs",
            "one column, and here are 'length', 'note'",
        ),
        (
            (NOTE, Column(name="title", kind="text", distinct=150)),
            {"model": {"type": "cnn"}},
            "dataset.inputs",
            "'note', 'title': list one",
        ),
        ((number("length"),), {"model": {"type": "rnn"}}, "dataset.inputs", "holds number"),
        (
            (NOTE,),
            {"model": {"type": "cnn"}, "dataset": {"text": {"type": "tf_idf"}}},
            "dataset.text.type",
            "use tokens",
        ),
        (
            (number("length"),),
            {"dataset": {"text": {"type": "tokens"}}},
            "dataset.text.type",
            "use tf_idf",
        ),
        (
            (number("length"),),
            {"dataset": {"text": {"type": "tf_idf"}}},
            "dataset.text",
            "no input",
        ),
        ((NOTE,), {"model": {"type": "cnn", "over": "image"}}, "dataset.inputs", "holds pictures"),
    ],
)
def test_wrong_pairings_are_refused_with_the_fix(
    columns: Any, parts: dict[str, Any], where: str, part: str
) -> None:
    loc, message = error_of(*columns, CLASSES, **parts)
    assert loc == where
    assert part in message


# ---------------------------------------------------------------- sequences


def sequence(name: str = "steps", width: int = 3, most: int = 40, **facts: Any) -> Column:
    measured = SequenceFacts(width=width, steps_min=5, steps_max=most)
    return Column(name=name, kind="sequence", distinct=150, sequence=measured, **facts)


@pytest.mark.parametrize("family", ["cnn", "rnn"])
@pytest.mark.parametrize(
    ("target", "task"), [(CLASSES, "classification"), (number("species"), "regression")]
)
def test_sequences_are_read_by_what_reads_in_order(family: str, target: Column, task: str) -> None:
    planned = plan(sequence(), target, model={"type": family})
    spec = planned.spec
    assert spec.model.tasks() == (task,)
    assert getattr(spec.model, "over", None) == "sequence"
    assert spec.dataset.sequence is not None
    assert resolve(spec, table(sequence(), target), None).spec == spec
    ended = plan(
        sequence(), target, model={"type": family}, dataset={"sequence": {"max_length": 10}}
    )
    kept = {"rnn": 3 + 128 * (4 + 2), "cnn": 2 * 64}[family]  # of each step of a batch of 64
    assert planned.memory_bytes - ended.memory_bytes == 4 * 30 * (150 * 3 + 64 * kept)


def test_a_column_of_sequences_is_chosen_among_others_with_a_warning() -> None:
    planned = plan(sequence(), number("a"), CLASSES, model={"type": "rnn"})
    assert planned.spec.dataset.inputs == ["steps"]
    assert "read alone, without 'a'" in planned.warnings[0]["message"]


@pytest.mark.parametrize(
    ("columns", "parts", "where", "part"),
    [
        (
            (sequence(), number("a")),
            {"model": {"type": "rnn"}, "dataset": {"inputs": ["steps", "a"]}},
            "dataset.inputs",
            "one column",
        ),
        ((sequence(), number("a")), {"model": MLP}, "dataset.inputs", "with rnn or cnn"),
        (
            (sequence(missing=2, first_missing_row=7),),
            {"model": {"type": "cnn"}},
            "dataset.inputs",
            "first in row 7",
        ),
        (
            (sequence(),),
            {"model": {"type": "cnn", "over": "tokens"}},
            "model.over",
            "use sequence or auto",
        ),
        (
            (sequence(),),
            {"model": {"type": "cnn", "gather": "flatten"}},
            "model.gather",
            "use max or average",
        ),
        (
            (sequence(),),
            {"model": {"type": "rnn"}, "dataset": {"text": {"type": "tokens"}}},
            "dataset.text",
            "holds no text",
        ),
        (
            (NOTE,),
            {"model": {"type": "rnn"}, "dataset": {"sequence": {"max_length": 3}}},
            "dataset.sequence",
            "holds no sequences",
        ),
        (
            (number("a"),),
            {"dataset": {"sequence": {}}},
            "dataset.sequence",
            "leave it out",
        ),
        (
            (sequence(),),
            {"model": {"type": "rnn"}, "evaluation": {"importance": "permutation"}},
            "evaluation.importance",
            "here is something else",
        ),
    ],
)
def test_wrong_uses_of_sequences_are_refused_with_the_fix(
    columns: Any, parts: dict[str, Any], where: str, part: str
) -> None:
    loc, message = error_of(*columns, CLASSES, **parts)
    assert loc == where
    assert part in message


@pytest.mark.parametrize(
    ("tested", "part"),
    [
        (sequence(width=2), "steps of 2 numbers in the test dataset, not of 3"),
        (sequence(missing=1, first_missing_row=4), "first in row 4"),
        (category("steps"), "'steps' holds category"),
    ],
)
def test_test_sequences_must_be_like_those_of_training(tested: Column, part: str) -> None:
    model = {"type": "rnn"}
    loc, message = error_of(sequence(), CLASSES, test=table(tested, CLASSES), model=model)
    assert loc == "dataset.test_id"
    assert part in message


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ({"min_df": 150}, True),
        ({"min_df": 151}, False),
        ({"max_df": 0.001}, False),
        ({"min_df": 30, "max_df": 0.1}, False),
        ({"characters": {"min_df": 200}}, False),
    ],
)
def test_a_text_of_which_no_term_can_be_kept_is_refused(text: dict[str, Any], fits: bool) -> None:
    columns = (Column(name="review", kind="text", distinct=150), *flower_columns())
    dataset = {"text": {"type": "tf_idf", **text}}
    if fits:
        assert plan(*columns, dataset=dataset)
    else:
        loc, message = error_of(*columns, dataset=dataset)
        assert loc == "dataset.text"
        assert "lower min_df, or raise max_df" in message


def test_a_test_dataset_of_other_classes_is_refused() -> None:
    test = table(number("length"), category("species", "p", "q"))
    columns = (number("length"), category("species", "x", "y"))
    loc, message = error_of(*columns, test=test)
    assert loc == "dataset.test_id"
    assert "such as 'x', 'y'" in message
    assert plan(*columns, test=table(number("length"), category("species", "y", "q")))


def test_a_target_that_never_repeats_names_no_classes() -> None:
    columns = (number("length"), category("species", distinct=150, rarest=1))
    loc, message = error_of(*columns)
    assert loc == "dataset.target"
    assert "another value in every row" in message
    assert plan(*columns, dataset={"split": {"validation": 0.0, "test": 0.0}})


def test_numbers_beyond_32_bits_are_refused_unless_they_are_scaled() -> None:
    columns = (number("length", min=-1e300), category("species", "x", "y"))
    loc, message = error_of(*columns, dataset={"scale": "none"})
    assert loc == "dataset.scale"
    assert "'length' goes up to 1e+300" in message
    assert plan(*columns)
