from pydantic import BaseModel, Field


class Series(BaseModel):
    name: str = Field(examples=["train/loss"])
    points: list[tuple[int, float]] = Field(description="[step, value], by step.")


class MetricsOut(BaseModel):
    series: list[Series] = Field(description="By name.")
