"""What the next sweep takes, on the wire."""

from pydantic import BaseModel, Field


class Going(BaseModel):
    count: int
    size_bytes: int = Field(description="Of the checkpoints of the jobs; of the uploaded files.")
    ids: list[str] = Field(description="The first hundred.")


class RetentionOut(BaseModel):
    job_ttl_days: float | None = Field(description="Null: jobs are kept for ever.")
    dataset_ttl_days: float | None = Field(description="Null: datasets are kept for ever.")
    jobs: Going
    datasets: Going
