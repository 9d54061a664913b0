"""Thin Streamlit pages: no maths, no training, no file formats."""
