"""Thin Streamlit pages; maths, training and file formats live in the core."""
