"""The explanation of one prediction of a finished run, in the terminal or as an HTML page.

```python
trained = gatescope.load("gru-additive-tweets-s0-1a2b3c4d")
explanation = explain(trained, trained.encode(["not bad at all"]), "not bad at all")
print(strip(explanation))
Path("page.html").write_text(page(explanation), encoding="utf-8")
```
"""

from gatescope.explain.before import untrained
from gatescope.explain.explanation import Alignment, Explanation, explain
from gatescope.explain.page import page
from gatescope.explain.passages import Passages, find_passages
from gatescope.explain.rows import Row
from gatescope.explain.strip import strip

__all__ = [
    "Alignment",
    "Explanation",
    "Passages",
    "Row",
    "explain",
    "find_passages",
    "page",
    "strip",
    "untrained",
]
