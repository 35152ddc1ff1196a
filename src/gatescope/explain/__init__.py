"""A look inside one prediction of a finished run: what it rests on, and what the gates did.

trained = gatescope.load("gru-additive-tweets-s0-1a2b3c4d")                   # trained.py
found = explain(trained, trained.encode(["not bad at all"]), "not bad at all")  # explanation.py
print(strip(found))                                                           # strip.py: a terminal
Path("page.html").write_text(page(found))                                     # page.py: one HTML file
"""

from gatescope.explain.explanation import Alignment, Explanation, Row, explain
from gatescope.explain.page import page
from gatescope.explain.strip import strip

__all__ = ["Alignment", "Explanation", "Row", "explain", "page", "strip"]
