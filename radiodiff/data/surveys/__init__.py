"""Surveys: tables of samples in the dialects people have, and the grid of their map."""
