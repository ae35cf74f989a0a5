"""The contract between client, API and worker."""

from app.specs.data import DatasetSpec as DatasetSpec
from app.specs.job import JobSpec as JobSpec
from app.specs.models import ModelSpec as ModelSpec
