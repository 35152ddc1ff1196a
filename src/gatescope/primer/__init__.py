"""The primer: one page that walks through the article on GRUs with numbers of real runs.

`numbers.measure` reads the runs of `study=primer_tweets` and `study=primer_recall`, and `page.page` draws the
page from these numbers alone, with the same bytes each time.
"""

from gatescope.primer.numbers import dumps, measure
from gatescope.primer.page import page

__all__ = ["dumps", "measure", "page"]
