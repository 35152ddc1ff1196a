"""A study's dashboard on W&B, built as code: a workspace and a report with the same sections.

    dashboard = build(tables)        # no network; `spec` shows what would be sent
    push(tables, project, path)      # saves it on W&B, or updates the one that was saved before

Only metrics and measurements that the runs of the study have logged are drawn, grouped by variant and
condition over seeds.
"""

from gatescope.analysis.dashboard.build import Dashboard, build
from gatescope.analysis.dashboard.panels import SECTIONS, group_keys
from gatescope.analysis.dashboard.push import ADDRESS_FILE, push, spec

__all__ = ["ADDRESS_FILE", "SECTIONS", "Dashboard", "build", "group_keys", "push", "spec"]
