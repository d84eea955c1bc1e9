"""Experiments: arms, each the difference from another, trained and measured alike with the project's own commands."""
