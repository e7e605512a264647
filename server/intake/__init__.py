"""From a stored delivery to a decision, runs and their first statuses, in one transaction."""

from server.intake.intake import Intake

__all__ = ["Intake"]
