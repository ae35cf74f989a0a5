"""What is wrong with a spec, collected so that a client hears of all of it at once."""

from dataclasses import dataclass, field

from app.errors import FieldError, ValidationError, field_error

Loc = list[str | int]


@dataclass
class Findings:
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[FieldError] = field(default_factory=list)

    def refuse(self, loc: Loc, message: str) -> None:
        self.errors.append(field_error(loc, message))

    def warn(self, loc: Loc, message: str) -> None:
        self.warnings.append(field_error(loc, message, "warning"))

    def stop(self) -> None:
        if self.errors:
            raise ValidationError("The spec does not fit the dataset.", self.errors)
