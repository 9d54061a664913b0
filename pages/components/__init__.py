"""Small browser components for what Streamlit widgets cannot do."""
