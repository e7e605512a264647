"""Image versions, channels, promotion and rollback; every move leaves a row that stays."""

from server.releases.announcing import Announcing
from server.releases.choosing import Version, earlier
from server.releases.deploying import Deploying, RunChannels
from server.releases.holding import Holding
from server.releases.releases import Look, Releases

__all__ = [
    "Announcing",
    "Deploying",
    "Holding",
    "Look",
    "Releases",
    "RunChannels",
    "Version",
    "earlier",
]
