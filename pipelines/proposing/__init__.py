"""A look at a repository's files, and a pipeline for it that works.

Each kind of project has a module that finds it and says why: `python`, `node`, `compiled` (Go,
Rust, Java), `web` (static sites) and `images` (Dockerfiles). `writing` makes the file of what they
propose.
"""

from pipelines.proposing.files import Files
from pipelines.proposing.looking import NothingFoundError, propose
from pipelines.proposing.proposals import Proposal
from pipelines.proposing.writing import written

__all__ = ["Files", "NothingFoundError", "Proposal", "propose", "written"]
