"""`regard compare`: traditional, self-, sparse and approximate attention on the same work, measured."""

from regard.compare.run import Comparison, Outcome, Watcher, Wish, compare

__all__ = ["Comparison", "Outcome", "Watcher", "Wish", "compare"]
