"""Every table, so that `Base.metadata` is complete wherever this is imported."""

from app.checkpoints.tables import Checkpoint as Checkpoint
from app.datasets.tables import Dataset as Dataset
from app.db import Base as Base
from app.events.tables import Event as Event
from app.jobs.tables import Attempt as Attempt
from app.jobs.tables import Job as Job
from app.jobs.tables import LeaseRow as LeaseRow
from app.metrics.tables import Metric as Metric
from app.projects.tables import ApiKey as ApiKey
from app.projects.tables import Project as Project
