"""Small browser components that do what Streamlit widgets cannot."""
