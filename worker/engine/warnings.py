"""What a job's owner should know although training goes on."""

from worker.engine.reporter import Reporter


class Warnings:
    """Each one is an event at once and, at the end, a line of the evaluation."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Say it once: a metric that is undefined is so in every epoch."""
        if message not in self.messages:
            self.messages.append(message)
            self.reporter.event("warning", {"message": message})
