"""Which columns a job takes as inputs: those of a table, or one that is read in order."""

from collections.abc import Sequence

from app.jobs.findings import Findings, Loc
from app.jobs.images import choose_image, refuse_missing_images, warn_of_lost_pooling
from app.jobs.inputs import UNUSABLE, Inputs, absent, quote
from app.jobs.overflow import refuse_overflow
from app.jobs.sequences import refuse_missing_sequences
from app.jobs.sizes import count_width
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.data import ColumnKind
from app.specs.models import CNNSpec, Taken
from app.specs.sequence import SequenceSpec
from app.specs.text import TextSpec, TokensSpec

MAX_WIDTH = 100_000  # numbers per row, once categories are encoded
LOC: Loc = ["dataset", "inputs"]
TERMS_HINT = 'or set dataset.text to {"type": "tf_idf"}'
READ_AS: dict[ColumnKind, Taken] = {
    "text": "tokens",
    "category": "tokens",
    "sequence": "sequence",
    "image": "image",
}
ALONE: dict[ColumnKind, Taken] = {"image": "image", "sequence": "sequence", "text": "tokens"}


def find_inputs(found: Findings, spec: JobSpec, columns: dict[str, Column], rows: int) -> Inputs:
    """The input columns in order; where none are listed, all but the target."""
    listed = spec.dataset.inputs
    aside = (*spec.dataset.targets, *spec.dividing_columns)
    names = listed or [name for name in columns if name not in aside]
    if not names:
        found.refuse(
            ["dataset"],
            "the dataset has no column besides the target; upload one with columns to predict from",
        )
    for i, name in enumerate(names):
        if name not in columns:
            found.refuse([*LOC, i], absent(name, columns))
    chosen = [columns[name] for name in names if name in columns]
    explicit = listed is not None
    if not explicit:
        chosen = prefer_whole(found, spec, chosen)
    refuse_empty(found, chosen, rows, explicit=explicit)
    if wants(spec, "image") and any(column.kind == "image" for column in chosen):
        return find_image(found, spec, chosen)
    if spec.dataset.image is not None:
        found.refuse(["dataset", "image"], "this model reads no pictures here: leave it out")
    if "table" in spec.model.takes:
        return find_table(found, spec, chosen, explicit=explicit)
    return find_whole(found, spec, chosen)


def refuse_empty(found: Findings, columns: Sequence[Column], rows: int, *, explicit: bool) -> None:
    empty = [c.name for c in columns if c.missing >= rows and c.kind not in UNUSABLE]
    if empty:
        remedy = find_remedy(explicit=explicit)
        found.refuse(LOC, f"every value is missing in {quote(empty)}; {remedy}")


def find_remedy(*, explicit: bool) -> str:
    return "take them out of `inputs`" if explicit else "list `inputs` without them"


# ---------------------------------------------------------------- tables


def find_table(found: Findings, spec: JobSpec, columns: list[Column], *, explicit: bool) -> Inputs:
    text = choose_terms(found, spec, columns)
    inputs = Inputs(columns, "table", text)
    odd = [c for c in inputs.plain if c.kind in UNUSABLE]
    if odd:
        kinds = " and ".join(sorted({c.kind for c in odd}))
        remedy = find_remedy(explicit=explicit)
        if "sequence" in kinds:
            remedy = f"{remedy}, or read one of them with rnn or cnn"
        if text is None and "text" in kinds:
            remedy = f"{remedy}, {TERMS_HINT}"
        if "image" in kinds:
            remedy = f"{remedy}, or use mlp or cnn, which read pictures"
        shown = quote([c.name for c in odd])
        found.refuse(LOC, f"cannot train on {kinds} columns: {shown}; {remedy}")
    refuse_wide(found, inputs.plain)
    refuse_overflow(found, spec, inputs.plain)
    if spec.dataset.sequence is not None:
        found.refuse(["dataset", "sequence"], "no input is read as a sequence here: leave it out")
    constant = [c.name for c in columns if c.distinct == 1]
    if constant:
        found.warn(LOC, f"{quote(constant)} never change: they teach nothing")
    return inputs


def choose_terms(found: Findings, spec: JobSpec, columns: list[Column]) -> TextSpec | None:
    text = spec.dataset.text
    loc: Loc = ["dataset", "text"]
    if text is None:
        return None
    if isinstance(text, TokensSpec):
        family = spec.model.type
        found.refuse([*loc, "type"], f"{family} takes no tokens: use tf_idf or bag_of_words")
        return None
    names = text.columns or [column.name for column in columns if column.kind == "text"]
    readable = {column.name for column in columns if column.kind in ("text", "category")}
    if wrong := [name for name in names if name not in readable]:
        found.refuse([*loc, "columns"], f"{quote(wrong)} are no inputs that hold text")
    if not names:
        found.refuse(loc, "no input column holds text: leave it out, or name its columns")
    return text.model_copy(update={"columns": names})


def refuse_wide(found: Findings, columns: Sequence[Column]) -> None:
    if columns and count_width(columns) > MAX_WIDTH:
        widest = max(columns, key=lambda column: column.distinct)
        found.refuse(
            LOC,
            f"the inputs become more than {MAX_WIDTH:,} numbers per row, {widest.distinct:,} of "
            f"them from column {widest.name!r}; leave columns with very many categories out",
        )


# ---------------------------------------------------------------- one column in order


def find_whole(found: Findings, spec: JobSpec, columns: list[Column]) -> Inputs:
    family = spec.model.type
    if getattr(spec.model, "over", "auto") == "image":
        found.refuse(LOC, "no input column holds pictures: choose one, or set model.over to auto")
        found.stop()
    if len(columns) != 1:
        found.refuse(
            LOC,
            f"{family} reads one column, and here are {quote([c.name for c in columns])}: list one "
            "in `inputs`",
        )
        found.stop()
    (column,) = columns
    taken = READ_AS.get(column.kind, "table")
    if taken not in spec.model.takes:
        image = column.kind == "image"
        fitting = "cnn or mlp for pictures" if image else "linear, logistic or mlp for tables"
        found.refuse(
            LOC,
            f"{family} reads text or sequences, but {column.name!r} holds {column.kind}; use "
            f"{fitting}",
        )
        found.stop()
    check_reader(found, spec, column, taken)
    found.stop()
    if taken == "sequence":
        return find_sequence(found, spec, column)
    return find_tokens(found, spec, column)


def check_reader(found: Findings, spec: JobSpec, column: Column, taken: Taken) -> None:
    """The fields of the family, against what it reads."""
    over = getattr(spec.model, "over", "auto")
    if over not in ("auto", taken):
        found.refuse(
            ["model", "over"],
            f"{column.name!r} holds {column.kind}, which is read as {taken}, not as {over}: use "
            f"{taken} or auto",
        )
    if taken != "image" and getattr(spec.model, "gather", "auto") == "flatten":
        found.refuse(
            ["model", "gather"],
            "rows of different length cannot be laid out flat: use max or average",
        )


def find_tokens(found: Findings, spec: JobSpec, column: Column) -> Inputs:
    family, text = spec.model.type, spec.dataset.text or TokensSpec()
    if not isinstance(text, TokensSpec):
        found.refuse(["dataset", "text", "type"], f"{family} reads tokens in order: use tokens")
    elif text.columns not in (None, [column.name]):
        found.refuse(["dataset", "text", "columns"], f"the one input is {column.name!r}")
    if spec.dataset.sequence is not None:
        found.refuse(["dataset", "sequence"], f"{column.name!r} holds no sequences: leave it out")
    return Inputs([column], "tokens", text.model_copy(update={"columns": [column.name]}))


# ---------------------------------------------------------------- pictures and sequences


def wants(spec: JobSpec, taken: Taken) -> bool:
    return taken in spec.model.takes and getattr(spec.model, "over", "auto") in ("auto", taken)


def prefer_whole(found: Findings, spec: JobSpec, columns: list[Column]) -> list[Column]:
    """Where nobody has said what to read: the pictures, the sequences or the text, without what is
    told about them."""
    wholes = [c for c in columns if c.kind in ALONE and wants(spec, ALONE[c.kind])]
    wholes = [c for c in wholes if c.kind != "text"] or wholes
    if len(wholes) != 1 or len(columns) == 1:
        return columns
    (whole,) = wholes
    others = quote([column.name for column in columns if column is not whole])
    found.warn(
        LOC,
        f"{whole.name!r} is read alone, without {others}: {spec.model.type} reads one column of "
        f"{whole.kind}",
    )
    return wholes


def find_image(found: Findings, spec: JobSpec, columns: list[Column]) -> Inputs:
    images = [column for column in columns if column.kind == "image"]
    if len(columns) > 1:
        found.refuse(
            LOC,
            f"{spec.model.type} reads one column of pictures and nothing beside it: list only "
            f"{images[0].name!r}",
        )
    if spec.dataset.text is not None:
        found.refuse(["dataset", "text"], "no input column holds text: leave it out")
    refuse_missing_images(found, LOC, images[0])
    inputs = Inputs(images[:1], "image", image=choose_image(found, spec, images[0]))
    if isinstance(spec.model, CNNSpec):
        warn_of_lost_pooling(found, spec.model, inputs.shape)
    return inputs


def find_sequence(found: Findings, spec: JobSpec, column: Column) -> Inputs:
    if spec.dataset.text is not None:
        found.refuse(["dataset", "text"], f"{column.name!r} holds no text: leave it out")
    refuse_missing_sequences(found, LOC, column)
    return Inputs([column], "sequence", sequence=spec.dataset.sequence or SequenceSpec())
