"""The entry of a worker: `celery -A worker.celery:celery worker`. It loads no torch."""

from app.queue import get_celery
from worker import tasks as tasks  # registers the task and the signal handlers

celery = get_celery()
