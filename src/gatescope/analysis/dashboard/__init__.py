"""A study's dashboard on W&B, built as code: a workspace and a report.

    dashboard = build(tables)        # no network; `spec` shows what would be sent
    push(tables, project, path)      # saves it on W&B, or updates the one that was saved before

The first section has about a dozen panels, grouped by variant and condition over seeds; the second one the
keys that were swept; all else that was logged is folded under "Internals". The report on W&B also has the
sentences and figures of the study's report.
"""

from gatescope.analysis.dashboard.build import Dashboard, build
from gatescope.analysis.dashboard.figures import draw_figures
from gatescope.analysis.dashboard.panels import SECTIONS, group_keys
from gatescope.analysis.dashboard.push import ADDRESS_FILE, push, spec

__all__ = ["ADDRESS_FILE", "SECTIONS", "Dashboard", "build", "draw_figures", "group_keys", "push", "spec"]
