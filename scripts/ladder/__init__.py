"""The paper's ladder: what each of its steps brings, measured with the project's own commands."""
