"""The one room that loads models and data by name: from installed packages and directories, never from the network."""

from regard.data.graphs import Network, karate, polblogs
from regard.data.images import Images, fashion
from regard.data.installed import extra
from regard.data.models import Loaded, load, names
from regard.data.tables import Demand, Points, elecdemand, faithful, mcycle
from regard.data.texts import Reviews, reviews

__all__ = [
    "Demand",
    "Images",
    "Loaded",
    "Network",
    "Points",
    "Reviews",
    "elecdemand",
    "extra",
    "faithful",
    "fashion",
    "karate",
    "load",
    "mcycle",
    "names",
    "polblogs",
    "reviews",
]
