"""What tests report: JUnit read safely, and held against an earlier report."""

from pipelines.reports.comparing import Compared, Failed, compare
from pipelines.reports.junit import JUnit
from pipelines.reports.model import Case, CaseState, Report

__all__ = ["Case", "CaseState", "Compared", "Failed", "JUnit", "Report", "compare"]
