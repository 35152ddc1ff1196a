"""Tuning of the variants of a study at equal budgets: Optuna proposes settings, the sweeper runs them."""
