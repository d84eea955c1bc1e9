"""The paper's ladder, run rung by rung: what each of its steps brings, measured by the project's own commands."""
