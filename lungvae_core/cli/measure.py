"""`lungvae measure`: measured traversals."""
