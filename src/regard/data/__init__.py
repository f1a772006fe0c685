"""The one room that loads models and data by name: from installed packages and directories, never from the network."""

from regard.data.books import kingdoms, play, plays
from regard.data.documents import News, news
from regard.data.graphs import Network, karate, polblogs
from regard.data.images import Images, digits, fashion
from regard.data.installed import extra
from regard.data.models import Loaded, load, names
from regard.data.spellings import Romanizing, Spelled, romanizing, spellings
from regard.data.tables import Demand, Points, elecdemand, faithful, mcycle
from regard.data.texts import Reviews, chinese, reviews
from regard.data.verses import Verse, verses

__all__ = [
    "Demand",
    "Images",
    "Loaded",
    "Network",
    "News",
    "Points",
    "Reviews",
    "Romanizing",
    "Spelled",
    "Verse",
    "chinese",
    "digits",
    "elecdemand",
    "extra",
    "faithful",
    "fashion",
    "karate",
    "kingdoms",
    "load",
    "mcycle",
    "names",
    "news",
    "play",
    "plays",
    "polblogs",
    "reviews",
    "romanizing",
    "spellings",
    "verses",
]
